"""Row schemas: rows as they arrive, JSON or numpy, checked, into numpy arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType
from numpy.typing import NDArray

from kvtape._native import _core
from kvtape.errors import InvalidRequest

__all__ = ["MAX_SYMBOLS", "MISSING", "OHLCV", "Candle", "SymbolTable", "check_ohlcv", "parse_ohlcv"]

#: A candle. `timestamp` is in Unix seconds, or MISSING; `sym` is an index into the session's SymbolTable.
OHLCV: np.dtype[Any] = np.dtype(
    [("timestamp", "i8"), ("o", "f8"), ("h", "f8"), ("l", "f8"), ("c", "f8"), ("v", "f8"), ("sym", "u2")], align=True
)
MISSING: int = _core.NO_TIMESTAMP

MAX_SYMBOLS = 1024
MAX_SYMBOL_LEN = 32
MAX_MAGNITUDE: float = _core.MAX_MAGNITUDE  # of a price or a volume
MIN_TIME: int = _core.MIN_TIME  # years 1 to 9999
MAX_TIME: int = _core.MAX_TIME
DEFAULT_SYMBOL = "series"  # where no row and no option names one

_NUMBER_FIELDS = ("o", "h", "l", "c", "v")

_Number = Annotated[float, msgspec.Meta(ge=-MAX_MAGNITUDE, le=MAX_MAGNITUDE)]
_Time = Annotated[int, msgspec.Meta(ge=MIN_TIME, le=MAX_TIME)]


class Candle(msgspec.Struct, gc=False):
    """A candle as JSON; other fields are ignored. The order of the fields is the one that `fill_ohlcv` reads."""

    o: _Number
    h: _Number
    l: _Number  # noqa: E741
    c: _Number
    v: _Number
    timestamp: _Time | UnsetType | None = UNSET
    ts: _Time | None = None  # another spelling of timestamp
    sym: str | None = None


class SymbolTable:
    """Symbols of a session in order of appearance. The first is the default: rows without `sym` are its rows."""

    def __init__(self, default: str | None = None) -> None:
        self.names: list[str] = []
        self.indices: dict[str, int] = {}
        if default is not None:
            self.extend([default])

    def extend(self, names: Sequence[str]) -> None:
        """Add those names that are not there yet; all of them or none.

        Raises:
            InvalidRequest: a name cannot be a symbol, or there are too many.
        """
        new = [name for name in dict.fromkeys(names) if name not in self.indices]
        for name in new:
            check_symbol(name, "symbol")
        if len(self.names) + len(new) > MAX_SYMBOLS:
            raise InvalidRequest(f"data: more than {MAX_SYMBOLS} symbols in one session", param="data")
        for name in new:
            self.indices[name] = len(self.names)
            self.names.append(name)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, name: str) -> int:
        return self.indices[name]

    def __contains__(self, name: object) -> bool:
        return name in self.indices


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
    """Check JSON rows, decoded as Candle or as plain objects, and return an array [n] of OHLCV.

    New symbols join the table. A candle whose high is below its low is taken as it is: such data exists.

    Raises:
        InvalidRequest: a row breaks the schema; `param` names row and field. No symbol is added then.
    """
    try:
        candles = msgspec.convert(data, list[Candle])
    except msgspec.ValidationError:
        for index, row in enumerate(data):
            _check_row(row, f"data[{index}]")
        raise  # unreachable unless the two checks disagree
    fields = list(map(msgspec.structs.astuple, candles))
    names = dict.fromkeys(row[-1] for row in fields)
    if not len(symbols) and next(iter(names), "") is None:
        names = {DEFAULT_SYMBOL: None} | names
    try:
        symbols.extend([name for name in names if name is not None])
    except InvalidRequest:
        for index, candle in enumerate(candles):
            if candle.sym is not None:
                check_symbol(candle.sym, f"data[{index}].sym")
        raise  # too many
    rows = np.empty(len(candles), OHLCV)
    _core.fill_ohlcv(fields, symbols.indices, rows)
    return rows


def check_ohlcv(rows: NDArray[Any], symbols: SymbolTable) -> None:
    """Check an array [n] of OHLCV as `parse_ohlcv` checks JSON; `sym` counts the names of the table.

    An empty table gets the default symbol.

    Raises:
        InvalidRequest: a value breaks the schema; `param` names row and field.
        TypeError: another dtype or shape, or rows that are not contiguous.
    """
    if rows.dtype != OHLCV:
        raise TypeError(f"rows have dtype {rows.dtype}, wanted OHLCV")
    if not len(symbols) and len(rows):
        symbols.extend([DEFAULT_SYMBOL])
    n_valid = _core.count_valid_ohlcv(rows, len(symbols))
    if n_valid < len(rows):
        row = dict(zip(OHLCV.names or (), rows[n_valid].item(), strict=True))
        index, path = row.pop("sym"), f"data[{n_valid}]"
        _check_row(row | {"timestamp": None if row["timestamp"] == MISSING else row["timestamp"]}, path)
        raise InvalidRequest(f"{path}.sym is {index}, the session has {len(symbols)} symbols", param=f"{path}.sym")


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
