"""Rows as lines of text for a model; candles also back.

Two styles (docs/reference/rows.md): `compact`, the default, about 17 to 20 tokens a daily stock candle with SmolLM2's
tokenizer and exact to half a unit of price and volume; `plain`, comma-separated and exact, about 46.

Every row ends in a newline and is to be tokenized by itself, so that its tokens do not depend on its neighbours.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from kvtape._native import _core
from kvtape.errors import InvalidRequest
from kvtape.session.row_types import MISSING, OHLCV, RowType
from kvtape.session.rows import NameTables, is_bare

__all__ = ["RowEncoder", "RowStyle", "Scale", "decode_ohlcv"]

RowStyle = Literal["compact", "plain"]

DAY = 86400
CLOSE_DIGITS = 4  # significant digits of a typical close, where no tick is given
VOLUME_DIGITS = 2
MIN_UNIT = 1e-12
FIRST_MONDAY = 4 * DAY  # 1970-01-05


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """Units of one symbol's rows; `interval` in seconds, None where it is not known yet."""

    price_unit: float
    volume_unit: float
    interval: int | None = None
    weekdays_only: bool = False


class RowEncoder:
    """Renders a session's rows, batch after batch, into text.

    A candle's symbol has a scale, fixed by its first batch: a price unit (tick) that gives a typical close four
    significant digits and a volume unit that gives two, both powers of ten, unless given. For exact cents give
    `tick=0.01`. Rows of other types have no scale.

    Args:
        row_type: of the session.
        tables: the session's names. The symbol of the first candle is the header's; candles of another one name it.
        style: "compact" or "plain".
        tick: price unit of every symbol; None: by the first batch.
        volume_unit: of every symbol; None: by the first batch.
        interval: seconds between candles; None: by the first batch, or learned from the first two times.

    Raises:
        InvalidRequest: an option is not at least 1e-12, or the style is unknown.
    """

    def __init__(
        self,
        row_type: RowType,
        tables: NameTables,
        *,
        style: RowStyle = "compact",
        tick: float | None = None,
        volume_unit: float | None = None,
        interval: int | None = None,
    ) -> None:
        if style not in ("compact", "plain"):
            raise InvalidRequest(f"style must be 'compact' or 'plain', found {style!r:.40}", param="style")
        for name, value in (("tick", tick), ("volume_unit", volume_unit), ("interval", interval)):
            if value is not None and not MIN_UNIT <= value < math.inf:
                raise InvalidRequest(f"{name} must be at least {MIN_UNIT:g}, found {value!r:.40}", param=name)
        self.row_type = row_type
        self.tables = tables
        self.style = style
        self.scales: dict[str, Scale] = {}  # of symbols, in order of appearance
        self._tick, self._volume_unit, self._interval = tick, volume_unit, interval
        self._text = _renderer(row_type, style)
        self._n_names = [0] * len(row_type.names)  # that the renderer knows

    def header(self, rows: NDArray[Any]) -> str:
        """Return the lines that go in front of all rows; `rows` are the first ones, at least one."""
        self._introduce(rows)
        if self.style == "compact":
            return f"{self.row_type.header}\n{self._text.header()}"
        owner = f"{next(iter(self.scales))} " if self.scales else ""
        labels = [field.label for field in self.row_type.fields if field.name != self._unnamed]
        return f"{owner}{self.row_type.noun}, one a line: {','.join(['time', *labels])}\n"

    def encode(self, rows: NDArray[Any]) -> list[str]:
        """Render rows [n] of the session's dtype: one text a row, each ending in a newline."""
        if rows.dtype != self.row_type.dtype:
            raise TypeError(f"rows have dtype {rows.dtype}, wanted that of {self.row_type.name} rows")
        self._introduce(rows)
        text, offsets = self._text.render(rows)
        ends = offsets.tolist()
        return [text[begin:end].decode() for begin, end in pairwise(ends)]

    def introduce_again(self) -> None:
        """Spell out times and scales once more, from the next rows on: the ones that did will leave the context.

        The scale of the first symbol is the header's and stays there.
        """
        self._text = _renderer(self.row_type, self.style)
        self._n_names = [0] * len(self.row_type.names)
        self._add_names()
        for symbol, scale in self.scales.items():
            assert self._unnamed is not None
            self._add_scale(self.tables[self._unnamed][symbol], scale)

    @property
    def _unnamed(self) -> str | None:
        """The field that only shows where it is not the header's."""
        return self.row_type.series if self.row_type.units else None

    def _introduce(self, rows: NDArray[Any]) -> None:
        """Tell the renderer new names, and fix the scale of each symbol that is here for the first time."""
        self._add_names()
        if self._unnamed is None:
            return
        symbols = rows[self._unnamed]
        for index in dict.fromkeys(symbols.tolist()):
            symbol = self.tables[self._unnamed].names[index]
            if symbol in self.scales:
                continue
            scale = choose_scale(rows[symbols == index], self._tick, self._volume_unit, self._interval)
            self._add_scale(index, scale)
            self.scales[symbol] = scale

    def _add_names(self) -> None:
        for index, field in enumerate(self.row_type.names):
            names = self.tables[field].names
            for name in names[self._n_names[index] :]:
                self._text.add_name(index, _shown(name))
            self._n_names[index] = len(names)

    def _add_scale(self, index: int, scale: Scale) -> None:
        self._text.add_series(
            index,
            units=[scale.price_unit, scale.volume_unit],
            interval=scale.interval,
            weekdays_only=scale.weekdays_only,
        )


def _renderer(row_type: RowType, style: RowStyle) -> _core.RowText:
    compact = style == "compact"
    columns: list[tuple[str, int, int, int, str]] = []
    if compact:
        for at, column in enumerate(row_type.columns):
            index = row_type.table(column.field) if column.form == "name" else column.unit
            before = column.before if at else ""
            columns.append((column.form, row_type.offset(column.field), index, column.n_digits, before))
    else:
        for field in row_type.fields:
            if not (row_type.units and field.name == row_type.series):
                form = "exact" if field.kind == "number" else field.kind
                index = row_type.table(field.name) if field.kind == "name" else 0
                columns.append((form, row_type.offset(field.name), index, 0, ","))
    return _core.RowText(
        compact=compact,
        row_bytes=row_type.dtype.itemsize,
        time_offset=row_type.offset("timestamp"),
        n_tables=len(row_type.names),
        series_offset=None if row_type.series is None else row_type.offset(row_type.series),
        units=list(row_type.units),
        first_is_unnamed=bool(row_type.units),
        columns=columns,
    )


def _shown(name: str) -> str:
    """Return a name as a line shows it: as it is, or in quotes where its end could not be seen."""
    if is_bare(name) and not name.startswith('"'):
        return name
    return json.dumps(name, ensure_ascii=not name.isprintable())


def choose_scale(rows: NDArray[Any], tick: float | None, volume_unit: float | None, interval: int | None) -> Scale:
    """Choose units for one symbol from its first rows; what is given stays."""
    times = rows["timestamp"][rows["timestamp"] != MISSING]
    if interval is None:
        gaps, counts = np.unique(np.diff(times), return_counts=True)
        counts[gaps <= 0] = 0
        interval = int(gaps[counts.argmax()]) if counts.any() else None
    weekday = (times - FIRST_MONDAY) // DAY % 7
    return Scale(
        price_unit=tick if tick is not None else _power_of_ten(rows["c"], CLOSE_DIGITS),
        volume_unit=volume_unit if volume_unit is not None else _power_of_ten(rows["v"], VOLUME_DIGITS),
        interval=interval,
        weekdays_only=interval == DAY and not (weekday >= 5).any(),
    )


def _power_of_ten(values: NDArray[np.float64], n_digits: int) -> float:
    """Return the power of ten in which a typical value has n_digits digits before the point."""
    sizes = np.abs(values[values != 0])
    if not len(sizes):
        return 1.0
    return max(MIN_UNIT, float(f"1e{math.floor(math.log10(float(np.median(sizes)))) - n_digits + 1}"))


_SCALE_LINE = re.compile(r"(\S+): price unit (\S+), volume unit (\S+?)(?:, every (weekday|day|\d+ s))?\.$")
_ROW = re.compile(r"(?:([^\s@]\S*) )?(?:@(\S+) )?(-?\d+) ([+-]\d+) ([+-]\d+) ([+-]\d+) (-?\d+)$")


class _Clock:
    """The time expected of a symbol's next row; the twin of RowClock in csrc/text/row_clock.h."""

    def __init__(self, interval: int | None, weekdays_only: bool) -> None:
        self.interval, self.weekdays_only = interval, weekdays_only
        self.last: int | None = None
        self.written_gap: int | None = None

    def read(self, written: str | None) -> int:
        """Return the time of a row from what stands in front of it: None, "-" or a time."""
        if written is None:
            self.written_gap = None
            if self.last is None or self.interval is None:
                self.last = None
                return MISSING
            self.last += self.interval
            while self.weekdays_only and self.interval == DAY and _is_weekend(self.last):
                self.last += DAY
            return self.last
        if written == "-":
            self.last = self.written_gap = None
            return MISSING
        time = int(datetime.fromisoformat(written).replace(tzinfo=UTC).timestamp())
        if self.last is not None:
            gap = time - self.last
            if gap > 0 and (self.interval is None or self.written_gap == gap):
                self.interval = gap
            self.written_gap = gap
        self.weekdays_only = self.weekdays_only and not _is_weekend(time)
        self.last = time
        return time


def _is_weekend(time: int) -> bool:
    return (time - FIRST_MONDAY) // DAY % 7 >= 5


def decode_ohlcv(text: str, *, style: RowStyle = "compact") -> tuple[NDArray[Any], list[str]]:
    """Read the header and rows of candles back: (rows [n] of OHLCV, symbol names).

    Raises:
        InvalidRequest: a line is not what RowEncoder writes; the message has its number.
    """
    lines = text.splitlines()
    names: list[str] = []
    if style == "plain":
        names.append(lines[0].removesuffix(" candles, one a line: time,open,high,low,close,volume"))
        return _stack([_plain_row(line, names) for line in lines[1:]]), names
    units: list[tuple[float, float]] = []
    clocks: list[_Clock] = []
    rows: list[tuple[Any, ...]] = []
    for number, line in enumerate(lines[1:], 2):
        if scale := _SCALE_LINE.match(line):
            name, price_unit, volume_unit, every = scale.groups()
            days = every in ("day", "weekday")
            names.append(name)
            units.append((float(price_unit), float(volume_unit)))
            clocks.append(_Clock(DAY if days else int(every.split()[0]) if every else None, every == "weekday"))
            continue
        match = _ROW.match(line)
        if match is None or (match[1] or names[0]) not in names:
            raise InvalidRequest(f"line {number} is no row: {line!r:.80}")
        name, written, *numbers = match.groups()
        sym = names.index(name) if name else 0
        time = clocks[sym].read(written)
        close, *offsets, volume = map(int, numbers)
        price_unit, volume_unit = units[sym]
        prices = [value * price_unit for value in (*(close + offset for offset in offsets), close)]
        rows.append((time, *prices, volume * volume_unit, sym))
    return _stack(rows), names


def _plain_row(line: str, names: list[str]) -> tuple[Any, ...]:
    fields = line.split(",")
    sym = 0
    if len(fields) == 7:
        name = fields.pop(0)
        if name not in names:
            names.append(name)
        sym = names.index(name)
    time = int(datetime.fromisoformat(fields[0]).replace(tzinfo=UTC).timestamp()) if fields[0] else MISSING
    return (time, *(float(value) for value in fields[1:]), sym)


def _stack(rows: list[tuple[Any, ...]]) -> NDArray[Any]:
    return np.array(rows, dtype=OHLCV)
