"""Running statistics of a session's rows, in constant memory, whatever has left the window since."""

from __future__ import annotations

import math
from typing import Any, TypedDict

from numpy.typing import NDArray

__all__ = ["OhlcvStats", "OhlcvSummary"]


class OhlcvSummary(TypedDict):
    """What `GET /v1/sessions/{id}/stats` answers for candles."""

    type: str
    count: int
    max_high: float
    max_high_index: int  # 0-based row index of the first occurrence
    min_low: float
    min_low_index: int
    max_volume: float
    first_open: float
    last_close: float
    avg_close: float
    change: float  # last close minus first open
    change_pct: float  # of the first open; 0 where that is 0


class OhlcvStats:
    """Statistics of all candles ever added."""

    def __init__(self) -> None:
        self._count = 0
        self._high = self._low = self._volume = 0.0
        self._high_index = self._low_index = 0
        self._first_open = self._last_close = 0.0
        self._close_sum = self._close_rest = 0.0  # the rest is what rounding has cost the sum so far

    def add(self, rows: NDArray[Any]) -> None:
        """Add a batch [n] of OHLCV, oldest first."""
        if not len(rows):
            return
        high_at, low_at = int(rows["h"].argmax()), int(rows["l"].argmin())
        high, low, volume = float(rows["h"][high_at]), float(rows["l"][low_at]), float(rows["v"].max())
        if not self._count:
            self._first_open = float(rows["o"][0])
        if not self._count or high > self._high:
            self._high, self._high_index = high, self._count + high_at
        if not self._count or low < self._low:
            self._low, self._low_index = low, self._count + low_at
        self._volume = volume if not self._count else max(self._volume, volume)
        self._add_closes(math.fsum(rows["c"].tolist()))
        self._last_close = float(rows["c"][-1])
        self._count += len(rows)

    def _add_closes(self, batch: float) -> None:
        """Add to the sum of closes with Neumaier's correction, so that a long day of small batches stays exact."""
        total = self._close_sum + batch
        if abs(self._close_sum) >= abs(batch):
            self._close_rest += (self._close_sum - total) + batch
        else:
            self._close_rest += (batch - total) + self._close_sum
        self._close_sum = total

    def summary(self) -> OhlcvSummary:
        """Return the figures so far; zeros before the first row."""
        change = self._last_close - self._first_open
        return {
            "type": "ohlcv",
            "count": self._count,
            "max_high": self._high,
            "max_high_index": self._high_index,
            "min_low": self._low,
            "min_low_index": self._low_index,
            "max_volume": self._volume,
            "first_open": self._first_open,
            "last_close": self._last_close,
            "avg_close": (self._close_sum + self._close_rest) / self._count if self._count else 0.0,
            "change": change,
            "change_pct": 100.0 * change / self._first_open if self._first_open else 0.0,
        }
