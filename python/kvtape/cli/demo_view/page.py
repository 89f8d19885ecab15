"""The demo as one HTML page without scripts or outside assets, for light and dark."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from importlib import resources

from kvtape.cli.demo_view.results import DISCLAIMER, TIMES, DemoResult
from kvtape.cli.demo_view.svg import candle_chart, histogram
from kvtape.cli.demo_view.table import one_line

__all__ = ["html_page"]


def html_page(result: DemoResult) -> str:
    """Return the whole page."""
    css = resources.files("kvtape.cli.demo_view").joinpath("page.css").read_text(encoding="utf-8")
    title = f"kvtape demo: {result.symbol} into {result.model}"
    body = "\n".join([*_head(result), *_chart(result), *_times(result), *_questions(result)])
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{css}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _head(result: DemoResult) -> Iterator[str]:
    yield f"<h1>{escape(result.symbol)}, live in a model's context</h1>"
    where = f" on {escape(result.machine)}" if result.machine else ""
    what = f"{len(result.steps)} candles pushed one by one into a session of {result.model}"
    yield f'<p class="soft">{escape(what)}{where}.</p>'
    yield f'<div class="note">{escape(DISCLAIMER)}</div>'
    yield '<div class="tiles">'
    resident, _, whole = result.stages()
    yield _tile(f"{resident.quantiles.p50:.1f} ms", "until a pushed candle is in the context, median")
    yield _tile(f"{whole.quantiles.p50:.1f} ms", f"until all {len(result.queries)} answers are new again, median")
    if result.questions:
        factors = sorted(question.factor for question in result.questions)
        span = f"{factors[0]:.0f} to {factors[-1]:.0f}" if len(factors) > 1 else f"{factors[0]:.1f}"
        yield _tile(span + TIMES, "as long to resend the whole context as to ask the session")
    for rate, name in ((result.prefill_tokens_per_s, "prefill"), (result.decode_tokens_per_s, "decode")):
        if rate is not None:
            yield _tile(f"{rate:,.0f}", f"tokens/s {name}")
    yield "</div>"


def _tile(value: str, label: str) -> str:
    return f'<div class="panel tile"><b>{escape(value)}</b><span class="soft">{escape(label)}</span></div>'


def _chart(result: DemoResult) -> Iterator[str]:
    yield "<h2>Candles, and what the flash queries answered at each</h2>"
    yield f'<div class="panel scroll">{candle_chart(result.steps, result.queries)}</div>'
    yield (
        '<p class="soft">Each bar is an answer for as long as it stood; the stronger its colour, the larger the gap '
        "between the two best first tokens. Hollow candles closed higher than they opened. "
        "Point at anything for its figures.</p>"
    )


def _times(result: DemoResult) -> Iterator[str]:
    yield '<h2>From a candle to its answers</h2>\n<div class="grid2">'
    for stage in result.stages()[:2]:
        yield f'<div class="panel"><p>{escape(stage.name)}</p>{histogram(stage.times_ms, stage.quantiles)}</div>'
    yield '</div>\n<div class="panel" style="margin-top: 16px"><table>'
    yield "<tr><th></th><th>p50</th><th>p95</th><th>p99</th></tr>"
    for stage in result.stages():
        q = stage.quantiles
        cells = "".join(f"<td>{value:.1f} ms</td>" for value in (q.p50, q.p95, q.p99))
        yield f"<tr><td>{escape(stage.name)}</td>{cells}</tr>"
    yield "</table></div>"


def _questions(result: DemoResult) -> Iterator[str]:
    if not result.questions:
        return
    yield "<h2>The same question, to the session and by resending everything</h2>"
    slowest = max(max(question.live_ms, question.resend_ms) for question in result.questions)
    for question in result.questions:
        yield '<div class="panel question">'
        yield f"<p><b>{escape(question.text)}</b></p>"
        yield f'<p class="answer">{escape(one_line(question.answer, 600))}</p>'
        for name, label, ms in (("live", "live session", question.live_ms), ("", "resending all", question.resend_ms)):
            width = 75 * ms / slowest
            yield (
                f'<div class="bar {name}">{label}<span><i style="width: {width:.1f}%"></i>{ms:,.0f} ms'
                f"{f' ({question.factor:.1f}{TIMES})' if not name else ''}</span></div>"
            )
        yield f'<p class="soft">{question.context_tokens:,} tokens of context</p></div>'
