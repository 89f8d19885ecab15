from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from kvtape.cli.demo_view.results import DemoResult, Quantiles
from kvtape.cli.demo_view.svg import candle_chart, histogram, nice_ticks


def groups(svg: str, name: str) -> list[ET.Element]:
    return [element for element in ET.fromstring(svg).iter() if element.get("class") == name]


def test_candles_lie_on_one_price_axis(result: DemoResult) -> None:
    svg = candle_chart(result.steps, result.queries)
    up, down = groups(svg, "up"), groups(svg, "down")
    assert [len(up), len(down)] == [2, 2]
    wick = up[0].find("line")
    body = up[1].find("rect")
    assert wick is not None
    assert body is not None
    scale = (float(wick.get("y2", "")) - float(wick.get("y1", ""))) / (112 - 95)
    assert float(body.get("height", "")) == pytest.approx(scale * (110 - 100), abs=0.1)
    assert float(body.get("y", "")) - float(wick.get("y1", "")) == pytest.approx(scale * (112 - 110), abs=0.1)


def test_equal_answers_in_a_row_are_one_bar(result: DemoResult) -> None:
    bars = groups(candle_chart(result.steps, result.queries), "answer")
    titles = [bar.findtext("title") for bar in bars]
    assert titles == [
        "up\nversion 1 to 2, confidence 1.50",
        "down\nversion 3 to 4, confidence 3.50",
        "calm\nversion 2, confidence 2.00",
        "<script> [red]x\nversion 3, confidence 3.00",
        "calm\nversion 4, confidence 4.00",
    ]
    boxes = [bar.find("rect") for bar in bars[:2]]
    ends = [float(box.get("x", "")) + float(box.get("width", "")) for box in boxes if box is not None]
    assert ends == pytest.approx([469.5, 939.5])  # halves of the width


def test_one_flat_candle_is_drawn(result: DemoResult) -> None:
    only = result.steps[:1]
    flat = only[0].candle
    object.__setattr__(flat, "h", flat.l)
    object.__setattr__(flat, "v", 0.0)
    assert len(groups(candle_chart(only, []), "up")) == 1
    assert candle_chart([], []) == ""


def test_histogram_counts_every_time() -> None:
    times = [1.0, 1.1, 1.2, 5.0, 100.0]
    svg = histogram(times, Quantiles(p50=1.2, p95=4.0, p99=6.0), n_bins=9)
    bins = [bin_.findtext("title") for bin_ in groups(svg, "bin")]
    assert bins == ["1.0 to 2.0 ms: 3", "5.0 to 6.0 ms: 1", "8.0 to 9.0 ms: 1"]
    assert len(groups(svg, "mark")) == 3
    assert histogram([], Quantiles(p50=0, p95=0, p99=0)) == ""
    assert groups(histogram([0.0], Quantiles(p50=0, p95=0, p99=0)), "bin")


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 10, [0, 2, 4, 6, 8, 10]), (430, 585, [450, 500, 550]), (0.1, 0.13, [0.1, 0.11, 0.12, 0.13]), (5, 5, [5])],
)
def test_ticks_are_round(low: float, high: float, expected: list[float]) -> None:
    assert nice_ticks(low, high) == pytest.approx(expected)
