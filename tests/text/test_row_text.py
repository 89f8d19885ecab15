"""The native renderer by itself; tests/session/test_row_text.py has the lines of each type of row."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvtape import _core
from kvtape.errors import InvalidRequest
from kvtape.session.row_types import MISSING

ROW = np.dtype([("time", "i8"), ("x", "f8"), ("n", "i8"), ("name", "u2"), ("other", "u2")])
COLUMNS = [("units", 8, 0, 0, ""), ("offset", 8, 1, 0, " "), ("integer", 16, 0, 0, " ")]
FORMAT = {
    "compact": True, "row_bytes": ROW.itemsize, "time_offset": 0, "n_tables": 1, "series_offset": 24,
    "units": ["price", "volume"], "first_is_unnamed": True, "columns": COLUMNS,
}  # fmt: skip
SCALE: dict[str, Any] = {"units": [0.5, 2.0], "interval": None, "weekdays_only": False}


def make_rows(n_rows: int, **columns: object) -> np.ndarray:
    out = np.zeros(n_rows, ROW)
    out["time"] = MISSING
    for name, values in columns.items():
        out[name] = values
    return out


def scaled(**options: Any) -> _core.RowText:
    """One series `A` of rows with units."""
    text = _core.RowText(**{**FORMAT, **options})
    text.add_name(0, "A")
    text.add_series(0, **SCALE)
    return text


def single(*columns: tuple[str, int, int, int, str], compact: bool = True, n_tables: int = 0) -> _core.RowText:
    """Rows of a single series without units."""
    changes = {"compact": compact, "n_tables": n_tables, "series_offset": None, "units": [], "first_is_unnamed": False}
    return _core.RowText(**{**FORMAT, **changes, "columns": list(columns)})


def lines(text: _core.RowText, rows: np.ndarray) -> list[str]:
    return text.render(rows)[0].decode().splitlines()


@pytest.mark.parametrize("compact", [True, False])
def test_offsets_cut_the_text_at_its_newlines(compact: bool) -> None:
    rendered, offsets = scaled(compact=compact).render(make_rows(12, x=np.arange(12)))
    assert offsets.tolist() == [0, *(i + 1 for i, byte in enumerate(rendered) if byte == ord("\n"))]
    assert len(offsets) == 13


def test_no_rows() -> None:
    rendered, offsets = scaled().render(make_rows(0))
    assert (rendered, offsets.tolist()) == (b"", [0])


def test_halves_go_to_the_even_unit() -> None:
    text = _core.RowText(**FORMAT)
    text.add_name(0, "A")
    text.add_series(0, units=[1.0, 1.0], interval=None, weekdays_only=False)
    rows = make_rows(3, x=[2.5, 3.5, -0.5], n=7)
    assert lines(text, rows) == ["2 +0 7", "4 +0 7", "0 +0 7"]


def test_an_offset_is_relative_to_the_units_before_it() -> None:
    assert lines(scaled(), make_rows(2, x=[5.0, -3.0])) == ["10 -8 0", "-6 +4 0"]


def test_the_scale_of_each_series_is_told_once() -> None:
    text = scaled()
    text.add_name(0, "B")
    text.add_series(1, units=[0.1, 1e6], interval=86400, weekdays_only=True)
    assert text.header() == "A: price unit 0.5, volume unit 2.\n"
    rendered = lines(text, make_rows(3, name=[1, 0, 1]))
    assert rendered == ["B: price unit 0.1, volume unit 1000000, every weekday.", "B 0 +0 0", "0 +0 0", "B 0 +0 0"]


@pytest.mark.parametrize(
    "change", [{"units": [0.0, 1.0]}, {"units": [1.0, float("inf")]}, {"units": [1.0]}, {"interval": 0}]
)
def test_units_must_be_positive(change: dict[str, Any]) -> None:
    text = _core.RowText(**FORMAT)
    text.add_name(0, "A")
    with pytest.raises(InvalidRequest, match="units and interval of A must be positive"):
        text.add_series(0, **{**SCALE, **change})


@pytest.mark.parametrize(
    "change",
    [
        {"units": ["a", "b", "c"]},
        {"row_bytes": 0},
        {"time_offset": 21},
        {"series_offset": 27},
        {"n_tables": 0},
        {"columns": [("exact", 21, 0, 0, "")]},
        {"columns": [("name", 27, 0, 0, "")]},
        {"columns": [("name", 26, 1, 0, "")]},
        {"columns": [("units", 8, 2, 0, "")]},
        {"columns": [("hex", 8, 0, 0, "")]},
    ],
)
def test_a_format_holds_together(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match="rows: "):
        _core.RowText(**{**FORMAT, **change})


def test_unknown_names_are_refused_and_nothing_changes() -> None:
    text = _core.RowText(**{**FORMAT, "n_tables": 2, "columns": [*COLUMNS, ("name", 26, 1, 0, " ")]})
    with pytest.raises(InvalidRequest, match="first series"):
        text.header()
    with pytest.raises(InvalidRequest, match="no series 0"):
        text.add_series(0, **SCALE)
    with pytest.raises(InvalidRequest, match="no table 2"):
        text.add_name(2, "x")
    text.add_name(0, "A")
    rows = make_rows(3, time=[0, 60, 120], other=[0, 0, 1])
    with pytest.raises(InvalidRequest, match="row 0 has index 0"):  # its scale is not known yet
        text.render(rows)
    text.add_series(0, **{**SCALE, "interval": 60})
    text.add_name(1, "first")
    with pytest.raises(InvalidRequest, match="row 2 has index 1 in a table of 1 names"):
        text.render(rows)
    assert lines(text, rows[:2]) == ["@1970-01-01 0 +0 0 first", "0 +0 0 first"]


def test_series_without_units_have_clocks_of_their_own() -> None:
    columns = [("name", 24, 0, 0, ""), ("integer", 16, 0, 0, "=")]
    text = _core.RowText(**{**FORMAT, "units": [], "first_is_unnamed": False, "columns": columns})
    text.add_name(0, "a")
    text.add_name(0, '"b c"')
    assert text.header() == ""
    rows = make_rows(8, time=[0, 5, 60, 15, 120, 25, 200, 35], n=range(8), name=[0, 1] * 4)
    assert lines(text, rows) == [
        "@1970-01-01 a=0", '@1970-01-01T00:00:05 "b c"=1', "@1970-01-01T00:01 a=2", '@1970-01-01T00:00:15 "b c"=3',
        "a=4", '"b c"=5', "@1970-01-01T00:03:20 a=6", '"b c"=7',
    ]  # fmt: skip


@pytest.mark.parametrize("wrong", [np.zeros(3), make_rows(6)[::2], make_rows(4).reshape(2, 2)])
def test_other_arrays_are_refused(wrong: np.ndarray) -> None:
    with pytest.raises(TypeError, match="contiguous"):
        scaled().render(wrong)


@pytest.mark.parametrize(
    ("value", "n_digits", "written"),
    [
        (21.5, 6, "21.5"), (72.0, 6, "72"), (-0.0, 6, "0"), (0.0, 6, "0"), (1013.25, 6, "1013.25"),
        (1 / 3, 6, "0.333333"),
        (1234567.891, 6, "1234568"), (123456.789, 6, "123457"), (9.9999996, 6, "10"), (-2.5, 1, "-2"), (3.5, 1, "4"),
        (0.00123456789, 6, "0.00123457"), (1e-12, 6, "0.000000000001"), (1e-300, 6, "0"), (-1e-300, 6, "0"),
        (5e-13, 6, "0"), (52.520008, 9, "52.520008"), (1e15, 9, "1000000000000000"), (-1e15, 1, "-1000000000000000"),
        (0.1 + 0.2, 6, "0.3"), (100.0, 2, "100"),
    ],
)  # fmt: skip
def test_rounded_numbers(value: float, n_digits: int, written: str) -> None:
    assert lines(single(("rounded", 8, 0, n_digits, "")), make_rows(1, x=value)) == [written]


@given(value=st.floats(-1e15, 1e15), n_digits=st.integers(1, 9))
def test_rounding_is_decimals_and_bounded(value: float, n_digits: int) -> None:
    (written,) = lines(single(("rounded", 8, 0, n_digits, "")), make_rows(1, x=value))
    exact = Decimal(value)
    size = exact.adjusted() if exact else 0
    finest = Decimal(1).scaleb(max(min(size - n_digits + 1, 0), -12))
    assert abs(Decimal(written) - exact) <= finest / 2
    assert len(written) <= 17
    assert not ("." in written and written.endswith("0"))


@given(value=st.floats(-1e15, 1e15))
def test_exact_numbers_are_read_back(value: float) -> None:
    (written,) = lines(single(("exact", 8, 0, 0, "")), make_rows(1, x=value))
    assert float(written) == value
    assert "e" not in written


def test_plain_rows_always_show_their_time() -> None:
    text = single(("integer", 16, 0, 0, ","), compact=False)
    rows = make_rows(3, time=[60, 120, MISSING], n=[1, -2, 10**15])
    assert lines(text, rows) == ["1970-01-01T00:01,1", "1970-01-01T00:02,-2", ",1000000000000000"]
