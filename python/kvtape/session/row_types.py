"""The types of rows a session takes, as data: fields, their array, their JSON, and how a line of text shows them.

Nothing else knows a type of row by its name, statistics apart (`kvtape.session.stats`): checks, ring and renderer are
driven by what stands here.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType

from kvtape._native import _core

__all__ = [
    "EVENT",
    "IOT",
    "MAX_MAGNITUDE",
    "MAX_TIME",
    "MIN_TIME",
    "MISSING",
    "OHLCV",
    "ROW_TYPES",
    "SPATIAL",
    "VITALS",
    "Column",
    "Field",
    "Names",
    "RowType",
]

MISSING: int = _core.NO_TIMESTAMP
MAX_MAGNITUDE: float = _core.MAX_MAGNITUDE  # of a number
MAX_INTEGER: int = _core.MAX_INTEGER
MIN_TIME: int = _core.MIN_TIME  # years 1 to 9999
MAX_TIME: int = _core.MAX_TIME

Kind = Literal["number", "integer", "name"]

_DTYPES: dict[Kind, str] = {"number": "f8", "integer": "i8", "name": "u2"}
_JSON: dict[Kind, Any] = {
    "number": Annotated[float, msgspec.Meta(ge=-MAX_MAGNITUDE, le=MAX_MAGNITUDE)],
    "integer": Annotated[int, msgspec.Meta(ge=-MAX_INTEGER, le=MAX_INTEGER)],
    "name": str,
}
_Time = Annotated[int, msgspec.Meta(ge=MIN_TIME, le=MAX_TIME)]


@dataclass(frozen=True, slots=True)
class Names:
    """What the names of a field may be. A row holds an index into the session's table of them: it has a fixed size."""

    plural: str
    most: int = 16_384  # different ones in a session
    max_len: int = 64  # characters of one
    bare: bool = False  # only such as can stand in a line without quotes
    default: str | None = None  # where the first rows have none; with it the field is optional


@dataclass(frozen=True, slots=True)
class Field:
    """A field besides the time, named as on the wire."""

    name: str
    label: str  # for the reader of the text
    kind: Kind = "number"
    names: Names | None = None  # of a name

    @property
    def optional(self) -> bool:
        """Whether a row may lack it."""
        return self.names is not None and self.names.default is not None


@dataclass(frozen=True, slots=True)
class Column:
    """A field as a line of the compact style shows it."""

    field: str
    form: Literal["rounded", "units", "offset", "integer", "name"]
    unit: int = 0  # units, offset
    n_digits: int = 6  # rounded: significant ones; the whole part is never rounded
    before: str = " "


@dataclass(frozen=True)
class RowType:
    """A type of row: the `type` of a session."""

    name: str
    noun: str  # what the rows are
    fields: tuple[Field, ...]
    columns: tuple[Column, ...]  # of the compact style; the plain one has the fields in their order
    header: str  # of the compact style: how to read a line
    series: str | None = None  # a name: rows that share it have a clock of their own
    units: tuple[str, ...] = ()  # of a series: told before its first row; the rows of the first series do not name it

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """Of a row in an array; `timestamp` in Unix seconds or MISSING, a name as its index."""
        return np.dtype([("timestamp", "i8"), *((f.name, _DTYPES[f.kind]) for f in self.fields)], align=True)

    @cached_property
    def model(self) -> type[msgspec.Struct]:
        """Of a row as JSON; other fields are ignored. Its fields are in the order of `layout`."""
        return msgspec.defstruct(
            f"{self.name.capitalize()}Row",
            [
                *((f.name, _JSON[f.kind]) for f in self.fields if not f.optional),
                ("timestamp", _Time | UnsetType | None, UNSET),
                ("ts", _Time | None, None),  # another spelling of timestamp
                *((f.name, _JSON[f.kind] | None, None) for f in self.fields if f.optional),
            ],
            gc=False,
        )

    @cached_property
    def models(self) -> Any:
        """Of rows as JSON."""
        return list[self.model]  # type: ignore[name-defined]

    @cached_property
    def names(self) -> dict[str, Names]:
        """What the fields of names may be, in the order of their tables."""
        return {f.name: f.names for f in self.fields if f.names is not None}

    @cached_property
    def layout(self) -> _core.RowLayout:
        """Where the fields lie, for the native checks."""
        required = [(f.kind, self.offset(f.name)) for f in self.fields if not f.optional]
        optional = [(f.kind, self.offset(f.name)) for f in self.fields if f.optional]
        return _core.RowLayout(self.dtype.itemsize, [*required, ("time", self.offset("timestamp")), *optional])

    def offset(self, name: str) -> int:
        """Return where a field lies in a row of the array, in bytes."""
        assert self.dtype.fields is not None
        return int(self.dtype.fields[name][1])

    def table(self, name: str) -> int:
        """Return which table of names a field has."""
        return list(self.names).index(name)


_TIME_HINT = "@ gives the time where it jumps."


def _rounded(*fields: str, n_digits: int = 6) -> tuple[Column, ...]:
    return tuple(Column(name, "rounded", n_digits=n_digits) for name in fields)


ROW_TYPES = {
    row_type.name: row_type
    for row_type in (
        RowType(
            "ohlcv",
            "candles",
            (
                Field("o", "open"),
                Field("h", "high"),
                Field("l", "low"),
                Field("c", "close"),
                Field("v", "volume"),
                Field("sym", "symbol", "name", Names("symbols", most=1024, max_len=32, bare=True, default="series")),
            ),
            (
                Column("c", "units"),
                *(Column(name, "offset") for name in ("o", "h", "l")),
                Column("v", "units", unit=1),
            ),
            f"Candles, one a line: close, then open, high, low relative to it, then volume; {_TIME_HINT}",
            series="sym",
            units=("price", "volume"),
        ),
        RowType(
            "iot",
            "sensor readings",
            (
                Field("sid", "sensor", "name", Names("sensors")),
                Field("val", "value"),
                Field("lo", "low limit"),
                Field("hi", "high limit"),
            ),
            (Column("sid", "name"), *_rounded("val", "lo", "hi")),
            f"Sensor readings, one a line: sensor, value, low limit, high limit; {_TIME_HINT}",
            series="sid",
        ),
        RowType(
            "spatial",
            "positions",
            (
                Field("x", "x"),
                Field("y", "y"),
                Field("z", "z"),
                Field("spd", "speed"),
                Field("hdg", "heading"),
            ),
            (*_rounded("x", "y", "z", n_digits=9), *_rounded("spd", "hdg")),
            f"Positions, one a line: x, y, z, speed, heading in degrees; {_TIME_HINT}",
        ),
        RowType(
            "event",
            "events",
            (
                Field("src", "source", "name", Names("sources")),
                Field("sev", "severity", "integer"),
                Field("cat", "category", "name", Names("categories")),
                Field("cnt", "count", "integer"),
            ),
            (
                Column("src", "name"),
                Column("sev", "integer"),
                Column("cat", "name"),
                Column("cnt", "integer"),
            ),
            f"Events, one a line: source, severity, category, count; {_TIME_HINT}",
        ),
        RowType(
            "vitals",
            "vital signs",
            (
                Field("hr", "heart rate"),
                Field("bp_s", "systolic"),
                Field("bp_d", "diastolic"),
                Field("spo2", "SpO2"),
                Field("temp", "temperature"),
            ),
            (
                *_rounded("hr", "bp_s"),
                Column("bp_d", "rounded", before="/"),
                *_rounded("spo2", "temp"),
            ),
            f"Vital signs, one a line: heart rate, blood pressure, SpO2, temperature; {_TIME_HINT}",
        ),
    )
}

#: The dtypes of rows in arrays.
OHLCV = ROW_TYPES["ohlcv"].dtype
IOT = ROW_TYPES["iot"].dtype
SPATIAL = ROW_TYPES["spatial"].dtype
EVENT = ROW_TYPES["event"].dtype
VITALS = ROW_TYPES["vitals"].dtype
