"""What a session takes for a row, at the limits; tests/session/test_rows.py has the errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from msgspec import UNSET

from kvtape import _core
from kvtape.errors import InvalidRequest
from kvtape.session.row_types import EVENT, MAX_INTEGER, MAX_MAGNITUDE, MAX_TIME, MIN_TIME, MISSING, OHLCV, ROW_TYPES


def names(n: int) -> dict[str, int]:
    return {str(i): i for i in range(n)}


BEFORE, AFTER = np.nextafter(MAX_MAGNITUDE, 0), np.nextafter(MAX_MAGNITUDE, np.inf)


@pytest.mark.parametrize(
    ("field", "value", "fine"),
    [
        *((field, value, True) for field in "ohlcv" for value in (BEFORE, MAX_MAGNITUDE, -MAX_MAGNITUDE, -0.0)),
        *((field, value, False) for field in "ohlcv" for value in (AFTER, -AFTER, np.inf, np.nan)),
        *(("timestamp", value, True) for value in (MIN_TIME, MAX_TIME, MISSING)),
        *(("timestamp", value, False) for value in (MIN_TIME - 1, MAX_TIME + 1, MISSING + 1)),
        ("sym", 2, True),
        ("sym", 3, False),
    ],
)
def test_limits(field: str, value: float, fine: bool) -> None:
    rows = np.zeros(3, OHLCV)
    rows[field][1] = value
    assert ROW_TYPES["ohlcv"].layout.count_valid(rows, [names(3)]) == (3 if fine else 1)


@pytest.mark.parametrize(
    ("field", "value", "fine"),
    [
        *(("sev", value, True) for value in (MAX_INTEGER, -MAX_INTEGER)),
        *(("cnt", value, False) for value in (MAX_INTEGER + 1, -MAX_INTEGER - 1, MISSING)),
        *((("src", 1, True), ("src", 2, False), ("cat", 4, True), ("cat", 5, False))),
    ],
)
def test_each_field_of_names_has_its_table(field: str, value: int, fine: bool) -> None:
    rows = np.zeros(3, EVENT)
    rows[field][1] = value
    assert ROW_TYPES["event"].layout.count_valid(rows, [names(2), names(5)]) == (3 if fine else 1)


def test_the_first_wrong_row_counts_whatever_its_field() -> None:
    rows = np.zeros(9, OHLCV)
    rows["v"][3] = rows["o"][5] = np.nan
    rows["timestamp"][7] = MISSING + 1
    assert ROW_TYPES["ohlcv"].layout.count_valid(rows, [names(1)]) == 3
    assert ROW_TYPES["ohlcv"].layout.count_valid(rows[:0], [{}]) == 0


@pytest.mark.parametrize("tables", [[], [{}, {}], [3]])
def test_a_table_is_wanted_for_each_field_of_names(tables: list[Any]) -> None:
    with pytest.raises(TypeError, match="table"):
        ROW_TYPES["ohlcv"].layout.count_valid(np.zeros(3, OHLCV), tables)


@pytest.mark.parametrize("fields", [[("number", 4)], [("name", 7)], [("text", 0)], [("name", 0)] * 5])
def test_a_layout_holds_together(fields: list[tuple[str, int]]) -> None:
    with pytest.raises(InvalidRequest):
        _core.RowLayout(8, fields)


@pytest.mark.parametrize(
    "candle",
    [(1.0,) * 7, [1.0] * 8, (1.0, 1.0, 1.0, 1.0, "v", None, None, None), (1.0,) * 5 + (1 << 70, None, None)],
)
def test_a_row_is_a_tuple_of_its_fields(candle: object) -> None:
    with pytest.raises((TypeError, OverflowError)):
        ROW_TYPES["ohlcv"].layout.fill([candle], [{}], np.zeros(1, OHLCV))


def test_a_row_has_a_place_and_a_known_name() -> None:
    fill = ROW_TYPES["ohlcv"].layout.fill
    candle = (1.0, 2.0, 3.0, 4.0, 5.0, None, None, "A")
    with pytest.raises(TypeError, match="place"):
        fill([candle], [{"A": 0}], np.zeros(2, OHLCV))
    with pytest.raises(TypeError, match="table"):
        fill([candle], [], np.zeros(1, OHLCV))
    with pytest.raises(KeyError):
        fill([candle], [{"B": 0}], np.zeros(1, OHLCV))
    rows = np.zeros(1, OHLCV)
    fill([candle], [{"A": 7}], rows)
    assert rows[0].item() == (MISSING, 1.0, 2.0, 3.0, 4.0, 5.0, 7)


def test_filled_rows_are_whole_bytes_padding_included() -> None:
    rows = np.full(OHLCV.itemsize, 255, np.uint8).view(OHLCV)
    ROW_TYPES["ohlcv"].layout.fill([(0.0,) * 5 + (0, None, None)], [{}], rows)
    assert rows.tobytes() == bytes(OHLCV.itemsize)


def test_the_time_has_two_spellings_of_which_the_first_goes() -> None:
    rows = np.zeros(4, EVENT)
    times = [(5, 6), (UNSET, 6), (None, 6), (UNSET, None)]
    ROW_TYPES["event"].layout.fill([("s", 1, "c", 2, *time) for time in times], [{"s": 1}, {"c": 3}], rows)
    assert rows["timestamp"].tolist() == [5, 6, MISSING, MISSING]
    assert rows[0].item() == (5, 1, 1, 3, 2)
