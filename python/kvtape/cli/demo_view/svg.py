"""Charts of the demo's page as inline SVG: candles with answers under them, and a histogram."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape
from itertools import groupby

import numpy as np

from kvtape.cli.demo_view.results import Answer, Quantiles, Step
from kvtape.cli.demo_view.table import one_line

__all__ = ["candle_chart", "histogram", "nice_ticks"]

WIDTH = 1000
AXIS = 60  # room for prices at the right
PRICE_HEIGHT = 300
VOLUME_HEIGHT = 50
DATE_HEIGHT = 24
LANE_HEIGHT = 46  # of a query's answers
CHARACTER = 6.6  # average width at 12 px


def nice_ticks(low: float, high: float, n_most: int = 6) -> list[float]:
    """Return round values between low and high: multiples of 1, 2 or 5 times a power of ten."""
    if not high > low:
        return [low]
    for exponent in range(math.floor(math.log10((high - low) / n_most)), 400):
        for factor in (1, 2, 5):
            step = factor * 10.0**exponent
            first, last = math.ceil(low / step), math.floor(high / step)
            if last - first < n_most:
                return [round(i * step, 12) for i in range(first, last + 1)]
    raise AssertionError("some step is larger than any range")


def candle_chart(steps: Sequence[Step], queries: Sequence[str]) -> str:
    """Draw the candles, and under them a lane a query: each answer as long as it stood."""
    if not steps:
        return ""
    height = PRICE_HEIGHT + VOLUME_HEIGHT + DATE_HEIGHT + LANE_HEIGHT * len(queries)
    parts = [f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="candles and answers">']
    parts += _candles(steps)
    for number, query in enumerate(queries):
        parts += _lane(steps, query, PRICE_HEIGHT + VOLUME_HEIGHT + DATE_HEIGHT + LANE_HEIGHT * number)
    parts.append("</svg>")
    return "\n".join(parts)


def _candles(steps: Sequence[Step]) -> Iterator[str]:
    candles = [step.candle for step in steps]
    low, high = min(candle.l for candle in candles), max(candle.h for candle in candles)
    span = (high - low) or 1.0
    top_volume = max(candle.v for candle in candles) or 1.0
    pitch = (WIDTH - AXIS) / len(steps)
    body = min(14.0, max(1.0, pitch * 0.65))

    def y(price: float) -> float:
        return 10 + (PRICE_HEIGHT - 20) * (high - price) / span

    for tick in nice_ticks(low, high):
        yield f'<line class="grid" x1="0" x2="{WIDTH - AXIS}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>'
        yield f'<text class="axis" x="{WIDTH - AXIS + 8}" y="{y(tick) + 4:.1f}">{tick:g}</text>'
    base = PRICE_HEIGHT + VOLUME_HEIGHT
    last_label = -math.inf
    month = ""
    for i, (step, candle) in enumerate(zip(steps, candles, strict=True)):
        x = pitch * (i + 0.5)
        name = "up" if candle.c >= candle.o else "down"
        top, bottom = y(max(candle.o, candle.c)), y(min(candle.o, candle.c))
        bar = (VOLUME_HEIGHT - 8) * candle.v / top_volume
        yield (
            f'<g class="{name}"><title>{candle.date}  version {step.version}\n'
            f"open {candle.o:g}  high {candle.h:g}  low {candle.l:g}  close {candle.c:g}  volume {candle.v:,.0f}\n"
            f"resident after {step.push_to_resident_ms:.1f} ms, "
            f"answers {step.resident_to_flash_ms:.1f} ms later</title>"
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{y(candle.h):.1f}" y2="{y(candle.l):.1f}"/>'
            f'<rect class="body" x="{x - body / 2:.1f}" y="{top:.1f}" width="{body:.1f}" '
            f'height="{max(1.0, bottom - top):.1f}"/>'
            f'<rect class="volume" x="{x - body / 2:.1f}" y="{base - bar:.1f}" '
            f'width="{body:.1f}" height="{bar:.1f}"/></g>'
        )
        if candle.date[:7] != month and x - last_label > 70 and x < WIDTH - AXIS - 50:
            yield f'<text class="axis" x="{x:.1f}" y="{base + 16}">{candle.date[:10]}</text>'
            last_label = x
        month = candle.date[:7]


def _lane(steps: Sequence[Step], query: str, top: float) -> Iterator[str]:
    pitch = (WIDTH - AXIS) / len(steps)
    answers: list[Answer | None] = [step.answers.get(query) for step in steps]
    strongest = max((answer.confidence for answer in answers if answer), default=0.0) or 1.0
    yield f'<text class="query" x="0" y="{top + 13:.1f}">{escape(query)}</text>'
    begin = 0
    for text, run in groupby(answers, key=lambda answer: one_line(answer.text, 200) if answer else None):
        found = list(run)
        n = len(found)
        x, width = begin * pitch, n * pitch
        begin += n
        kept = [answer for answer in found if answer]
        if text is None or not kept:
            continue
        confidence = sum(answer.confidence for answer in kept) / n
        versions = f"{kept[0].version} to {kept[-1].version}" if n > 1 else f"{kept[0].version}"
        strength = 0.12 + 0.5 * max(0.0, min(1.0, confidence / strongest))
        n_fit = int((width - 8) / CHARACTER)
        label = escape(one_line(text, n_fit)) if n_fit >= 2 else ""
        yield (
            f'<g class="answer"><title>{escape(text)}\nversion {versions}, confidence {confidence:.2f}</title>'
            f'<rect x="{x + 0.5:.1f}" y="{top + 18:.1f}" width="{max(0.5, width - 1):.1f}" height="22" rx="3" '
            f'fill-opacity="{strength:.2f}"/><text x="{x + 5:.1f}" y="{top + 33:.1f}">{label}</text></g>'
        )


def histogram(times_ms: Sequence[float], quantiles: Quantiles, *, n_bins: int = 40) -> str:
    """Draw how often each time occurred, with p50, p95 and p99 marked."""
    width, height, base = 480, 150, 120
    if not times_ms:
        return ""
    # What lies far beyond p99 is counted in the last bin, so that one outlier does not flatten the rest.
    end = min(max(times_ms), 1.5 * quantiles.p99) or 1.0
    counts, edges = np.histogram(np.minimum(times_ms, end), bins=n_bins, range=(0.0, end))
    parts = [f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="histogram of times">']
    bar = width / n_bins
    for i, count in enumerate(counts.tolist()):
        if count:
            tall = (base - 36) * count / counts.max()
            parts.append(
                f'<rect class="bin" x="{i * bar + 0.5:.1f}" y="{base - tall:.1f}" '
                f'width="{bar - 1:.1f}" height="{tall:.1f}">'
                f"<title>{edges[i]:.1f} to {edges[i + 1]:.1f} ms: {count}</title></rect>"
            )
    parts.append(f'<line class="base" x1="0" x2="{width}" y1="{base}" y2="{base}"/>')
    for tick in nice_ticks(0.0, end):
        x = width * tick / end
        anchor = "start" if x < 20 else "end" if x > width - 20 else "middle"
        parts.append(f'<text class="axis" x="{x:.1f}" y="{base + 16}" text-anchor="{anchor}">{tick:g} ms</text>')
    for row, (name, value) in enumerate((("p50", quantiles.p50), ("p95", quantiles.p95), ("p99", quantiles.p99))):
        x = width * min(1.0, value / end)
        y = 10 + 11 * row  # each label on a line of its own: they may be close together
        parts.append(f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="{y - 8}" y2="{base}"/>')
        parts.append(f'<text class="axis" x="{x - 4:.1f}" y="{y}" text-anchor="end">{name}</text>')
    parts.append("</svg>")
    return "\n".join(parts)
