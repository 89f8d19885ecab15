"""What may be pushed, and how it is taken apart."""

from __future__ import annotations

import numpy as np
import pytest

from kvtape.errors import InvalidRequest
from kvtape.session.push import MAX_ENTRY_BYTES, parse_push
from kvtape.session.row_types import ROW_TYPES
from kvtape.session.rows import NameTables, parse_rows
from tests.serving import CANDLES

OHLCV = ROW_TYPES["ohlcv"]


@pytest.fixture
def names():
    return NameTables(OHLCV)


def test_rows_and_texts_come_in_runs(names):
    runs = parse_push(["a", "b\n", *CANDLES[:2], "", CANDLES[2]], OHLCV, names)
    assert [runs[0], runs[2]] == [["a\n", "b\n"], [""]]
    assert [run["c"].tolist() for run in (runs[1], runs[3])] == [[150.7, 150.95], [151.3]]


def test_a_text_alone_is_one_entry():
    assert parse_push("a", None, None) == [["a\n"]]
    assert parse_push([], None, None) == []


def test_rows_alone_are_one_run(names):
    (run,) = parse_push(CANDLES, OHLCV, names)
    assert np.array_equal(run, parse_rows(OHLCV, CANDLES, NameTables(OHLCV)))
    assert parse_push(run, OHLCV, names)[0] is run


@pytest.mark.parametrize(
    ("data", "param"),
    [
        (["a", {**CANDLES[0], "sym": "NEW"}, "b", {"o": 1}], "data[3].h"),
        (["a", 5], "data[1]"),
        (["a", None], "data[1]"),
        (["a", "\ud800"], "data[1]"),
        ("\ud800", "data"),
        (["a", "x" * (MAX_ENTRY_BYTES + 1)], "data[1]"),
    ],
)
def test_what_is_wrong_is_named_and_no_name_is_learned(names, data, param):
    with pytest.raises(InvalidRequest) as caught:
        parse_push(data, OHLCV, names)
    assert caught.value.param == param
    assert "NEW" not in names["sym"]


@pytest.mark.parametrize("data", [[CANDLES[0]], ["a", CANDLES[0]], np.zeros(1, OHLCV.dtype)])
def test_a_session_of_texts_takes_no_rows(data):
    with pytest.raises(InvalidRequest, match="no typed rows"):
        parse_push(data, None, None)
