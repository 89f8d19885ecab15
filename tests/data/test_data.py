from __future__ import annotations

from datetime import UTC, datetime
from importlib import resources

import numpy as np
import pytest

from kvtape.data import CANDLE_SYMBOLS, load_candles
from kvtape.errors import NotFound
from kvtape.session.row_types import OHLCV


@pytest.mark.parametrize("symbol", CANDLE_SYMBOLS)
def test_candles_are_real_trading_days(symbol: str) -> None:
    rows = load_candles(symbol)
    assert rows.dtype == OHLCV
    assert len(rows) == 693
    assert (np.diff(rows["timestamp"]) > 0).all()
    days = [datetime.fromtimestamp(time, UTC) for time in rows["timestamp"].tolist()]
    assert all(day.weekday() < 5 and day.hour == day.minute == 0 for day in days)
    assert (rows["h"] >= np.maximum(rows["o"], rows["c"])).all()
    assert (rows["l"] <= np.minimum(rows["o"], rows["c"])).all()
    assert (rows["v"] > 0).all()


def test_a_known_candle() -> None:
    last = load_candles("AAPL")[-1]
    assert last.tolist() == (1362096000, 438.0, 438.1799, 429.98, 430.47, 19730300.0, 0)


def test_unknown_symbol() -> None:
    with pytest.raises(NotFound, match="AAPL, GOOG"):
        load_candles("MSFT")


def test_the_files_are_small_and_say_where_they_come_from() -> None:
    folder = resources.files("kvtape.data")
    assert len(folder.joinpath("stocks.csv").read_bytes()) < 100_000
    assert "public domain" in folder.joinpath("NOTICE").read_text()
