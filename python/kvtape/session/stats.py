"""Running statistics of a session's rows, in bounded memory, whatever has left the window since.

One class a type of row. `add` takes a batch, oldest first; `summary` returns what `GET /v1/sessions/{id}/stats`
answers: every figure is there and finite, zeros and empty text before the first row.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from kvtape.session.row_types import MISSING
from kvtape.session.rows import NameTables
from kvtape.session.running import Extreme, RunningMean, Runs, finite

__all__ = [
    "STATS",
    "EventStats",
    "IotStats",
    "OhlcvStats",
    "RowStats",
    "SpatialStats",
    "Summary",
    "VitalsStats",
]

CRITICAL_SEVERITY = 4
TACHYCARDIA, BRADYCARDIA = 100.0, 60.0  # beats a minute: above, below
HYPOXIA = 90.0  # per cent: below
FEVER = 38.0  # degrees Celsius: from

Summary = dict[str, Any]


class RowStats(Protocol):
    """Statistics of all rows of one type ever added."""

    def __init__(self, tables: NameTables) -> None: ...
    def add(self, rows: NDArray[Any]) -> None: ...
    def summary(self) -> Summary: ...


class OhlcvStats:
    """Of candles."""

    def __init__(self, tables: NameTables) -> None:
        self._count = 0
        self._high, self._low, self._volume = Extreme(), Extreme(smallest=True), Extreme()
        self._close = RunningMean()
        self._first_open = self._last_close = 0.0

    def add(self, rows: NDArray[Any]) -> None:
        """Add a batch [n]."""
        if not len(rows):
            return
        if not self._count:
            self._first_open = float(rows["o"][0])
        self._last_close = float(rows["c"][-1])
        self._high.add(rows["h"])
        self._low.add(rows["l"])
        self._volume.add(rows["v"])
        self._close.add(rows["c"])
        self._count += len(rows)

    def summary(self) -> Summary:
        """Return the figures so far."""
        change = self._last_close - self._first_open
        return {
            "type": "ohlcv",
            "count": self._count,
            "max_high": self._high.value,
            "max_high_index": self._high.index,  # 0-based row index of the first occurrence
            "min_low": self._low.value,
            "min_low_index": self._low.index,
            "max_volume": self._volume.value,
            "first_open": self._first_open,
            "last_close": self._last_close,
            "avg_close": self._close.mean,
            "change": change,
            "change_pct": finite(100.0 * change / self._first_open) if self._first_open else 0.0,
        }


class IotStats:
    """Of sensor readings, all sensors together."""

    def __init__(self, tables: NameTables) -> None:
        self._sensors = tables["sid"]
        self._count = self._n_breaches = 0
        self._least, self._most, self._value = Extreme(smallest=True), Extreme(), RunningMean()
        self._last_sensor, self._last_value = "", 0.0

    def add(self, rows: NDArray[Any]) -> None:
        """Add a batch [n]."""
        if not len(rows):
            return
        value = rows["val"]
        for figure in (self._least, self._most, self._value):
            figure.add(value)
        self._n_breaches += int(np.count_nonzero((value < rows["lo"]) | (value > rows["hi"])))
        self._last_sensor, self._last_value = self._sensors.names[rows["sid"][-1]], float(value[-1])
        self._count += len(rows)

    def summary(self) -> Summary:
        """Return the figures so far."""
        return {
            "type": "iot",
            "count": self._count,
            "last_sensor": self._last_sensor,
            "last_value": self._last_value,
            "min_value": self._least.value,
            "max_value": self._most.value,
            "avg_value": self._value.mean,
            "threshold_breaches": self._n_breaches,
            "breach_rate": self._n_breaches / self._count if self._count else 0.0,
        }


class SpatialStats:
    """Of positions on one path."""

    def __init__(self, tables: NameTables) -> None:
        self._count = 0
        self._last: NDArray[Any] | None = None  # [1]
        self._distance, self._speed = RunningMean(), RunningMean()
        self._top_speed, self._turn = Extreme(), Extreme()

    def add(self, rows: NDArray[Any]) -> None:
        """Add a batch [n]."""
        if not len(rows):
            return
        path = rows if self._last is None else np.concatenate([self._last, rows])
        dx, dy, dz = (np.diff(path[name]) for name in ("x", "y", "z"))
        self._distance.add(np.sqrt(dx * dx + dy * dy + dz * dz))
        self._turn.add(turn_rates(path))
        self._speed.add(rows["spd"])
        self._top_speed.add(rows["spd"])
        self._last = rows[-1:].copy()
        self._count += len(rows)

    def summary(self) -> Summary:
        """Return the figures so far."""
        last = {
            name: 0.0 if self._last is None else float(self._last[name][0]) for name in ("x", "y", "z", "spd", "hdg")
        }
        return {
            "type": "spatial",
            "count": self._count,
            "current_position": {name: last[name] for name in ("x", "y", "z")},
            "current_speed": last["spd"],
            "current_heading": last["hdg"],
            "total_distance": self._distance.total,
            "max_speed": self._top_speed.value,
            "avg_speed": self._speed.mean,
            "max_turn_rate": self._turn.value,
        }


def turn_rates(path: NDArray[Any]) -> NDArray[np.float64]:
    """Return the size of each change of heading, wrapped to at most 180 degrees, [n - 1].

    It is per second where both rows have a time, and else per row. A step of no second counts as one: times are whole
    seconds, so it was shorter. One that goes back counts with its length.
    """
    turn = np.abs(np.fmod(np.diff(path["hdg"]), 360.0))
    turn = np.minimum(turn, 360.0 - turn)
    known = path["timestamp"] != MISSING
    seconds = np.abs(np.diff(np.where(known, path["timestamp"], 0)))
    rates: NDArray[np.float64] = turn / np.where(known[1:] & known[:-1], np.maximum(seconds, 1), 1)
    return rates


class EventStats:
    """Of events. The figures are Python's integers: they never overflow."""

    def __init__(self, tables: NameTables) -> None:
        self._categories = tables["cat"]
        self._count = self._n_critical = 0
        self._severity = Extreme()
        self._sources: set[int] = set()
        self._by_category: Counter[int] = Counter()  # in order of appearance

    def add(self, rows: NDArray[Any]) -> None:
        """Add a batch [n]."""
        self._severity.add(rows["sev"])
        self._n_critical += int(np.count_nonzero(rows["sev"] >= CRITICAL_SEVERITY))
        self._sources.update(rows["src"].tolist())
        for category, count in zip(rows["cat"].tolist(), rows["cnt"].tolist(), strict=True):
            self._by_category[category] += count
        self._count += len(rows)

    def summary(self) -> Summary:
        """Return the figures so far."""
        top = max(self._by_category, key=self._by_category.__getitem__, default=None)  # ties: the first seen
        return {
            "type": "event",
            "count": self._count,
            "total_event_count": self._by_category.total(),
            "max_severity": int(self._severity.value),
            "critical_events": self._n_critical,
            "unique_sources": len(self._sources),
            "unique_categories": len(self._by_category),
            "top_category": "" if top is None else self._categories.names[top],
            "top_category_count": 0 if top is None else self._by_category[top],
        }


class VitalsStats:
    """Of vital signs of one patient."""

    def __init__(self, tables: NameTables) -> None:
        self._count = 0
        self._last: dict[str, float] | None = None
        self._heart_rate, self._pressure = RunningMean(), RunningMean()
        self._least_spo2, self._most_temp = Extreme(smallest=True), Extreme()
        self._fast, self._slow, self._hypoxic, self._feverish = Runs(), Runs(), Runs(), Runs()

    def add(self, rows: NDArray[Any]) -> None:
        """Add a batch [n]."""
        if not len(rows):
            return
        mean_pressure = rows["bp_d"] + (rows["bp_s"] - rows["bp_d"]) / 3
        self._heart_rate.add(rows["hr"])
        self._pressure.add(mean_pressure)
        self._least_spo2.add(rows["spo2"])
        self._most_temp.add(rows["temp"])
        self._fast.add(rows["hr"] > TACHYCARDIA)
        self._slow.add(rows["hr"] < BRADYCARDIA)
        self._hypoxic.add(rows["spo2"] < HYPOXIA)
        self._feverish.add(rows["temp"] >= FEVER)
        self._last = {name: float(rows[name][-1]) for name in ("hr", "bp_s", "bp_d", "spo2", "temp")}
        self._last["map"] = float(mean_pressure[-1])
        self._count += len(rows)

    def summary(self) -> Summary:
        """Return the figures so far."""
        last = self._last or dict.fromkeys(("hr", "spo2", "temp", "map"), 0.0)
        pressure = f"{_short(last['bp_s'])}/{_short(last['bp_d'])}" if self._last else ""
        return {
            "type": "vitals",
            "count": self._count,
            "current": {
                "hr": last["hr"],
                "bp": pressure,
                "spo2": last["spo2"],
                "temp": last["temp"],
                "map": last["map"],
            },
            "avg_heart_rate": self._heart_rate.mean,
            "avg_map": self._pressure.mean,
            "min_spo2": self._least_spo2.value,
            "max_temp": self._most_temp.value,
            "alerts": {
                "tachycardia_episodes": self._fast.count,
                "bradycardia_episodes": self._slow.count,
                "hypoxia_episodes": self._hypoxic.count,
                "fever_episodes": self._feverish.count,
            },
        }


def _short(value: float) -> str:
    return repr(value).removesuffix(".0")


STATS: dict[str, type[RowStats]] = {
    "ohlcv": OhlcvStats,
    "iot": IotStats,
    "spatial": SpatialStats,
    "event": EventStats,
    "vitals": VitalsStats,
}
