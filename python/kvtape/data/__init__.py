"""Real candles for demos and tests; NOTICE beside this file says where they come from."""

from __future__ import annotations

import csv
from datetime import UTC, datetime
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kvtape.errors import NotFound
from kvtape.session.row_types import OHLCV

__all__ = ["CANDLE_SYMBOLS", "load_candles"]

CANDLE_SYMBOLS = ("AAPL", "GOOG")


def load_candles(symbol: str = "AAPL") -> NDArray[Any]:
    """Return daily candles [n] of OHLCV, oldest first, with `sym` 0; timestamps are midnight UTC of the trading day.

    Raises:
        NotFound: there are no candles of this symbol.
    """
    if symbol not in CANDLE_SYMBOLS:
        raise NotFound(f"no candles of {symbol!r}; there are {', '.join(CANDLE_SYMBOLS)}")
    with resources.files(__name__).joinpath("stocks.csv").open(encoding="ascii") as file:
        lines = [line for line in csv.DictReader(file) if line["symbol"] == symbol]
    rows = np.zeros(len(lines), OHLCV)
    dates = (datetime.fromisoformat(line["date"]).replace(tzinfo=UTC) for line in lines)
    rows["timestamp"] = [int(date.timestamp()) for date in dates]
    for name, column in (("o", "open"), ("h", "high"), ("l", "low"), ("c", "close"), ("v", "volume")):
        rows[name] = [float(line[column]) for line in lines]
    return rows
