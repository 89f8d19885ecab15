"""Row schemas: JSON rows as they arrive, checked, into numpy arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kvtape._native import _core
from kvtape.errors import InvalidRequest

__all__ = ["MAX_SYMBOLS", "MISSING", "OHLCV", "SymbolTable", "parse_ohlcv"]

#: A candle. `timestamp` is in Unix seconds, or MISSING; `sym` is an index into the session's SymbolTable.
OHLCV: np.dtype[Any] = np.dtype(
    [("timestamp", "i8"), ("o", "f8"), ("h", "f8"), ("l", "f8"), ("c", "f8"), ("v", "f8"), ("sym", "u2")], align=True
)
MISSING: int = _core.NO_TIMESTAMP

MAX_SYMBOLS = 1024
MAX_SYMBOL_LEN = 32
MAX_MAGNITUDE = 1e15  # of a price or a volume
MIN_TIME, MAX_TIME = -62_135_596_800, 253_402_300_799  # years 1 to 9999
DEFAULT_SYMBOL = "series"  # where no row and no option names one

_NUMBER_FIELDS = ("o", "h", "l", "c", "v")


class SymbolTable:
    """Symbols of a session in order of appearance. The first is the default: rows without `sym` are its rows."""

    def __init__(self, default: str | None = None) -> None:
        self.names: list[str] = []
        self._index: dict[str, int] = {}
        if default is not None:
            check_symbol(default, "symbol")
            self.extend([default])

    def extend(self, names: Sequence[str]) -> None:
        """Add names that are not there yet."""
        for name in names:
            if name not in self._index:
                self._index[name] = len(self.names)
                self.names.append(name)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, name: str) -> int:
        return self._index[name]

    def __contains__(self, name: object) -> bool:
        return name in self._index


def check_symbol(value: Any, param: str) -> None:
    """Refuse what cannot stand at the beginning of a row's text.

    Raises:
        InvalidRequest: not 1 to 32 printable characters without spaces and commas, or it begins with `@`.
    """
    fine = isinstance(value, str) and 0 < len(value) <= MAX_SYMBOL_LEN and value.isprintable()
    if not fine or value.startswith("@") or any(c.isspace() or c == "," for c in value):
        wanted = f"1 to {MAX_SYMBOL_LEN} printable characters without spaces or commas, not beginning with '@'"
        raise InvalidRequest(f"{param} must be {wanted}, found {value!r:.60}", param=param)


def parse_ohlcv(data: Sequence[Any], symbols: SymbolTable) -> NDArray[Any]:
    """Check JSON rows and return them as an array [n] of OHLCV; new symbols join the table.

    `o h l c v` are required numbers, `timestamp` (or `ts`) and `sym` optional, other fields ignored. A candle whose
    high is below its low is taken as it is: such data exists.

    Raises:
        InvalidRequest: a row breaks the schema; `param` names row and field. No symbol is added then.
    """
    rows = np.zeros(len(data), OHLCV)
    try:
        columns = {name: [row[name] for row in data] for name in _NUMBER_FIELDS}
        times = [row.get("timestamp", row.get("ts")) for row in data]
        names = [row.get("sym") for row in data]
        for name, column in columns.items():
            if not set(map(type, column)) <= {int, float}:
                raise TypeError(name)
            rows[name] = column
            if not (np.abs(rows[name]) <= MAX_MAGNITUDE).all():  # also false for NaN
                raise ValueError(name)
        if not set(map(type, times)) <= {int, type(None)}:
            raise TypeError("timestamp")
        if not all(time is None or MIN_TIME <= time <= MAX_TIME for time in times):
            raise ValueError("timestamp")
        unseen = [name for name in dict.fromkeys(names) if name is not None and name not in symbols]
        for name in unseen:
            check_symbol(name, "sym")
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError):
        for index, row in enumerate(data):
            _check_row(row, f"data[{index}]")
        raise  # unreachable unless the two checks disagree
    if not len(symbols) and len(rows):
        unseen = list(dict.fromkeys([names[0] or DEFAULT_SYMBOL, *unseen]))
    if len(symbols) + len(unseen) > MAX_SYMBOLS:
        raise InvalidRequest(f"data: more than {MAX_SYMBOLS} symbols in one session", param="data")
    symbols.extend(unseen)
    rows["timestamp"] = [MISSING if time is None else time for time in times]
    rows["sym"] = [0 if name is None else symbols[name] for name in names]
    return rows


def _check_row(row: Any, path: str) -> None:
    """Find what is wrong with one row and say so."""
    if not isinstance(row, Mapping):
        raise InvalidRequest(f"{path} must be an object, found {row!r:.60}", param=path)
    for name in _NUMBER_FIELDS:
        if name not in row:
            raise InvalidRequest(f"{path}.{name} is missing", param=f"{path}.{name}")
        value = row[name]
        fine = isinstance(value, int | float) and not isinstance(value, bool)
        if not fine or not -MAX_MAGNITUDE <= value <= MAX_MAGNITUDE:
            raise InvalidRequest(
                f"{path}.{name} must be a finite number of at most {MAX_MAGNITUDE:g}, found {value!r:.60}",
                param=f"{path}.{name}",
            )
    field = "timestamp" if "timestamp" in row else "ts"
    time = row.get(field)
    if time is not None and (isinstance(time, bool) or not isinstance(time, int) or not MIN_TIME <= time <= MAX_TIME):
        raise InvalidRequest(
            f"{path}.{field} must be whole Unix seconds of the years 1 to 9999, found {time!r:.60}",
            param=f"{path}.{field}",
        )
    if row.get("sym") is not None:
        check_symbol(row["sym"], f"{path}.sym")
