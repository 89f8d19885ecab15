from __future__ import annotations

import io

import pytest
from rich.console import Console, RenderableType

from kvtape.cli.demo_view.results import TIMES, DemoResult
from kvtape.cli.demo_view.table import live_frame, one_line, summary


def lines(view: RenderableType, width: int = 110) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=width, color_system=None).print(view)
    return out.getvalue().splitlines()


def line_with(found: list[str], text: str) -> str:
    return next(line for line in found if text in line)


@pytest.mark.parametrize("width", [80, 110, 200])
def test_frame_shows_candles_and_answers(result: DemoResult, width: int) -> None:
    found = lines(live_frame(result), width)
    assert "4/5 candles into tiny" in found[0]
    first, last = line_with(found, "2013-02-25"), line_with(found, "2013-02-28")
    assert first.split()[:5] == ["2013-02-25", "101.00", "+1.00", "10.0", "100.0"]
    assert "…" in first  # no answer to the second query yet
    assert "+11.11" in last
    assert last.split()[-4:] == ["4.0", "down", "4.0", "calm"]
    assert "+0.00" in line_with(found, "2013-02-27")


def test_frame_keeps_the_last_candles(result: DemoResult) -> None:
    found = "\n".join(lines(live_frame(result, n_last=2)))
    assert "2013-02-26" not in found
    assert "2013-02-27" in found


def test_markup_in_answers_is_text(result: DemoResult) -> None:
    assert "<script> [red]x" in "\n".join(lines(live_frame(result), 160))


def test_summary(result: DemoResult) -> None:
    found = lines(summary(result))
    assert line_with(found, "resident → flash ready").split()[-6:] == ["115.0", "ms", "128.5", "ms", "129.7", "ms"]
    assert line_with(found, "Why & how?").split()[-5:] == ["50", "ms", "600", "ms", "12.0" + TIMES]
    assert "prefill 500 tokens/s" in "\n".join(found)
    assert "decode" not in "\n".join(found)
    assert "opinions are worthless" in " ".join(found)


@pytest.mark.parametrize(
    ("text", "limit", "expected"),
    [("a\r\n b\x1b[0m", 20, "a b [0m"), ("abcdef", 6, "abcdef"), ("abcdefg", 6, "abcde…"), ("  ", 3, "")],
)
def test_one_line(text: str, limit: int, expected: str) -> None:
    assert one_line(text, limit) == expected
