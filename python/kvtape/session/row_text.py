"""Candles as lines of text for a model, and back.

Two styles (docs/reference/rows.md): `compact`, the default, about 17 to 20 tokens a daily stock candle with SmolLM2's
tokenizer and exact to half a unit of price and volume; `plain`, comma-separated and exact, about 46.

Every row ends in a newline and is to be tokenized by itself, so that its tokens do not depend on its neighbours.
"""

from __future__ import annotations

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
from kvtape.session.rows import MAX_SYMBOLS, MISSING, OHLCV, SymbolTable

__all__ = ["OhlcvEncoder", "RowStyle", "Scale", "decode_ohlcv"]

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


class OhlcvEncoder:
    """Renders a session's rows, batch after batch, into text.

    A symbol's scale is fixed by its first batch: a price unit (tick) that gives a typical close four significant
    digits and a volume unit that gives two, both powers of ten, unless given. For exact cents give `tick=0.01`.

    Args:
        symbols: the session's table. The symbol of the first row is the header's; rows of another one name it.
        style: "compact" or "plain".
        tick: price unit of every symbol; None: by the first batch.
        volume_unit: of every symbol; None: by the first batch.
        interval: seconds between rows; None: by the first batch, or learned from the first two times.

    Raises:
        InvalidRequest: an option is not at least 1e-12, or the style is unknown.
    """

    def __init__(
        self,
        symbols: SymbolTable,
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
        self.symbols = symbols
        self.style = style
        self._tick, self._volume_unit, self._interval = tick, volume_unit, interval
        self._text = _core.OhlcvText(compact=style == "compact")
        self.scales: dict[str, Scale] = {}  # in order of appearance
        self._order = np.zeros(MAX_SYMBOLS, np.uint16)  # index in the table -> place in order of appearance

    def header(self, rows: NDArray[Any]) -> str:
        """Return the two lines that go in front of all rows; `rows` are the first ones, at least one."""
        self._introduce(rows)
        return self._text.header()

    def encode(self, rows: NDArray[Any]) -> list[str]:
        """Render rows [n] of OHLCV: one text a row, each ending in a newline."""
        if rows.dtype != OHLCV:
            raise TypeError(f"rows have dtype {rows.dtype}, wanted OHLCV")
        self._introduce(rows)
        rows = rows.copy()
        rows["sym"] = self._order[rows["sym"]]
        text, offsets = self._text.render(rows)
        ends = offsets.tolist()
        return [text[begin:end].decode() for begin, end in pairwise(ends)]

    def _introduce(self, rows: NDArray[Any]) -> None:
        """Fix the scale of each symbol that is here for the first time."""
        for index in dict.fromkeys(rows["sym"].tolist()):
            symbol = self.symbols.names[index]
            if symbol in self.scales:
                continue
            scale = choose_scale(rows[rows["sym"] == index], self._tick, self._volume_unit, self._interval)
            self._text.add_symbol(
                symbol=symbol,
                price_unit=scale.price_unit,
                volume_unit=scale.volume_unit,
                interval=scale.interval,
                weekdays_only=scale.weekdays_only,
            )
            self._order[index] = len(self.scales)
            self.scales[symbol] = scale


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
    """The time expected of a symbol's next row; the twin of RowClock in csrc/text/ohlcv_text.h."""

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
    """Read header and rows back: (rows [n] of OHLCV, symbol names).

    Raises:
        InvalidRequest: a line is not what OhlcvEncoder writes; the message has its number.
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
