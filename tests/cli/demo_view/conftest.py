from __future__ import annotations

import pytest

from kvtape.cli.demo_view.results import Answer, Candle, DemoResult, Question, Step

TREND, MOOD = "Up or down?", "Mood <one word>:"


def step(i: int, *, close: float, answers: dict[str, str]) -> Step:
    return Step(
        candle=Candle(timestamp=1361750400 + 86400 * i, o=100.0, h=112.0, l=95.0, c=close, v=1e6 + i),
        version=i + 1,
        push_to_resident_ms=10.0 + i,
        resident_to_flash_ms=100.0 + 10 * i,
        answers={query: Answer(text=text, confidence=1.0 + i, version=i + 1) for query, text in answers.items()},
    )


@pytest.fixture
def result() -> DemoResult:
    """Four candles; the second query has no answer at first, and one with markup in it later."""
    return DemoResult(
        model="tiny",
        symbol="AAPL",
        n_candles=5,
        queries=[TREND, MOOD],
        steps=[
            step(0, close=101.0, answers={TREND: "up"}),
            step(1, close=99.0, answers={TREND: "up", MOOD: "calm"}),
            step(2, close=99.0, answers={TREND: "down", MOOD: "<script>\n[red]x"}),
            step(3, close=110.0, answers={TREND: "down", MOOD: "calm"}),
        ],
        questions=[Question(text="Why & how?", answer="a\nb", live_ms=50.0, resend_ms=600.0, context_tokens=1234)],
        prefill_tokens_per_s=500.0,
    )
