from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvtape.data import load_candles
from kvtape.session.rows import OHLCV
from kvtape.session.stats import OhlcvStats

EMPTY = {
    "type": "ohlcv",
    "count": 0,
    "max_high": 0.0,
    "max_high_index": 0,
    "min_low": 0.0,
    "min_low_index": 0,
    "max_volume": 0.0,
    "first_open": 0.0,
    "last_close": 0.0,
    "avg_close": 0.0,
    "change": 0.0,
    "change_pct": 0.0,
}


def expected(rows: np.ndarray) -> dict[str, object]:
    """The formulas of the wire specification, over all rows at once."""
    first_open, last_close = float(rows["o"][0]), float(rows["c"][-1])
    change = last_close - first_open
    return {
        "type": "ohlcv",
        "count": len(rows),
        "max_high": rows["h"].max(),
        "max_high_index": rows["h"].tolist().index(rows["h"].max()),
        "min_low": rows["l"].min(),
        "min_low_index": rows["l"].tolist().index(rows["l"].min()),
        "max_volume": rows["v"].max(),
        "first_open": first_open,
        "last_close": last_close,
        "avg_close": pytest.approx(float(sum(map(Fraction, rows["c"].tolist())) / len(rows)), rel=1e-15, abs=1e-300),
        "change": change,
        "change_pct": 100 * change / first_open if first_open else 0.0,
    }


def test_before_the_first_row() -> None:
    stats = OhlcvStats()
    assert stats.summary() == EMPTY
    stats.add(np.zeros(0, OHLCV))
    assert stats.summary() == EMPTY


@pytest.mark.parametrize("batch", [1, 7, 693])
def test_real_candles(batch: int) -> None:
    rows = load_candles("GOOG")
    stats = OhlcvStats()
    for begin in range(0, len(rows), batch):
        stats.add(rows[begin : begin + batch])
    assert stats.summary() == expected(rows)


values = st.integers(-1000, 1000).map(lambda n: n / 8)  # exact sums, many ties


@settings(max_examples=200, deadline=None)
@given(
    table=st.lists(st.tuples(*[values] * 5), min_size=1, max_size=30),
    cuts=st.lists(st.integers(0, 30), max_size=4).map(sorted),
)
def test_any_batches(table: list[tuple[float, ...]], cuts: list[int]) -> None:
    rows = np.zeros(len(table), OHLCV)
    for name, column in zip("ohlcv", zip(*table, strict=True), strict=True):
        rows[name] = column
    stats = OhlcvStats()
    for batch in np.split(rows, cuts):
        stats.add(batch)
    assert stats.summary() == expected(rows)


def test_average_survives_a_long_day() -> None:
    rows = np.zeros(1, OHLCV)
    stats = OhlcvStats()
    rows["c"] = 1e15
    stats.add(rows)
    rows["c"] = 0.1
    for _ in range(20_000):
        stats.add(rows)
    exact = (Fraction(1e15) + 20_000 * Fraction(0.1)) / 20_001
    assert stats.summary()["avg_close"] == pytest.approx(float(exact), rel=1e-15)
