"""The demo in a terminal: a frame of the live table, and the summary at the end."""

from __future__ import annotations

from rich import box
from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from kvtape.cli.demo_view.results import DISCLAIMER, TIMES, Answer, DemoResult, Step

__all__ = ["live_frame", "one_line", "summary"]


def one_line(text: str, limit: int) -> str:
    """Return text without line breaks and control characters, cut to `limit` characters."""
    flat = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"


def live_frame(result: DemoResult, *, n_last: int = 12) -> RenderableType:
    """Draw the run so far: how far it is, and its last candles with their answers."""
    progress = Table.grid(padding=(0, 1))
    progress.add_row(
        Text(result.symbol, style="bold"),
        ProgressBar(total=result.n_candles, completed=len(result.steps), width=30),
        Text(f"{len(result.steps)}/{result.n_candles} candles into {result.model}", style="dim"),
    )
    table = Table(
        box=box.SIMPLE_HEAD, padding=(0, 1), header_style="dim", expand=True, pad_edge=False, collapse_padding=True
    )
    for name, width in (("candle", 10), ("close", 7), ("change\n%", 6), ("resident\nms", 8), ("flash\nms", 6)):
        table.add_column(name, justify="left" if name == "candle" else "right", min_width=width)
    for query in result.queries:
        table.add_column(Text(query), ratio=1)  # the question may take several lines, an answer takes one
    first = max(0, len(result.steps) - n_last)
    for index in range(first, len(result.steps)):
        step = result.steps[index]
        before = result.steps[index - 1].candle.c if index else step.candle.o
        table.add_row(*_cells(step, before), *(_answer(step.answers.get(query)) for query in result.queries))
    return Group(progress, table)


def _cells(step: Step, before: float) -> tuple[RenderableType, ...]:
    change = 100 * (step.candle.c / before - 1) if before else 0.0
    return (
        step.candle.date,
        f"{step.candle.c:.2f}",
        Text(f"{change:+.2f}", style="green" if change > 0 else "red" if change < 0 else ""),
        f"{step.push_to_resident_ms:.1f}",
        f"{step.resident_to_flash_ms:.1f}",
    )


def _answer(answer: Answer | None) -> Text:
    if answer is None:
        return Text("…", style="dim")
    cell = Text.assemble((f"{answer.confidence:.1f} ", "dim"), one_line(answer.text, 80))
    cell.no_wrap, cell.overflow = True, "ellipsis"
    return cell


def summary(result: DemoResult) -> RenderableType:
    """Draw the figures of a finished run."""
    stages = Table(box=box.SIMPLE_HEAD, padding=(0, 1), header_style="dim", title="from a candle to its answers")
    for name in ("", "p50", "p95", "p99"):
        stages.add_column(name, justify="right" if name else "left", no_wrap=True)
    for stage in result.stages():
        values = (stage.quantiles.p50, stage.quantiles.p95, stage.quantiles.p99)
        stages.add_row(stage.name, *(f"{value:.1f} ms" for value in values))
    parts: list[RenderableType] = [stages]
    if result.questions:
        asked = Table(box=box.SIMPLE_HEAD, padding=(0, 1), header_style="dim", title="the same question, asked twice")
        asked.add_column("question", ratio=1)
        asked.add_column("answer", ratio=1)
        for name in ("live session", "resending all", "factor"):
            asked.add_column(name, justify="right", no_wrap=True)
        for question in result.questions:
            asked.add_row(
                Text(question.text),
                Text(one_line(question.answer, 160)),
                f"{question.live_ms:.0f} ms",
                f"{question.resend_ms:.0f} ms",
                Text(f"{question.factor:.1f}{TIMES}", style="bold"),
            )
        parts.append(asked)
    rates = [
        f"{name} {rate:,.0f} tokens/s"
        for name, rate in (("prefill", result.prefill_tokens_per_s), ("decode", result.decode_tokens_per_s))
        if rate is not None
    ]
    if rates:
        parts.append(Text("   ".join(rates)))
    parts.append(Text(DISCLAIMER, style="italic dim"))
    return Group(*parts)
