from __future__ import annotations

import json
import math

import msgspec
import numpy as np
import pytest

from kvtape import _core
from kvtape.errors import InvalidRequest
from kvtape.session.rows import MAX_SYMBOLS, MISSING, OHLCV, Candle, SymbolTable, check_ohlcv, parse_ohlcv

GOOD = {"o": 1.0, "h": 2, "l": 0.5, "c": 1.5, "v": 1000}


def test_dtype_is_the_native_layout() -> None:
    assert OHLCV.itemsize == _core.OHLCV_ROW_BYTES == 56
    assert [OHLCV.fields[name][1] for name in OHLCV.names] == [0, 8, 16, 24, 32, 40, 48]


def test_rows_become_an_array() -> None:
    symbols = SymbolTable()
    data = [
        {**GOOD, "timestamp": 1700000000, "sym": "AAPL"},
        {**GOOD, "ts": 1700000060, "c": 3},
        {**GOOD, "sym": "MSFT", "colour": "ignored"},
        {**GOOD, "timestamp": None, "sym": None},
    ]
    rows = parse_ohlcv(data, symbols)
    assert symbols.names == ["AAPL", "MSFT"]
    assert rows["timestamp"].tolist() == [1700000000, 1700000060, MISSING, MISSING]
    assert rows["sym"].tolist() == [0, 0, 1, 0]
    assert rows["c"].tolist() == [1.5, 3.0, 1.5, 1.5]
    assert rows["h"].tolist() == [2.0] * 4


def test_first_rows_without_a_symbol_get_the_default() -> None:
    symbols = SymbolTable()
    assert parse_ohlcv([GOOD, {**GOOD, "sym": "B"}], symbols)["sym"].tolist() == [0, 1]
    assert symbols.names == ["series", "B"]
    symbols = SymbolTable("AAPL")
    assert parse_ohlcv([{**GOOD, "sym": "B"}, GOOD], symbols)["sym"].tolist() == [1, 0]


def test_no_rows() -> None:
    symbols = SymbolTable()
    assert len(parse_ohlcv([], symbols)) == 0
    assert symbols.names == []


def test_real_world_candles_are_taken() -> None:
    odd = [{**GOOD, "h": 0.1, "l": 9}, {**GOOD, "c": -37.63}, {**GOOD, "v": 0}]
    assert len(parse_ohlcv(odd, SymbolTable())) == 3


@pytest.mark.parametrize("field", ["o", "h", "l", "c", "v"])
@pytest.mark.parametrize(
    "value", ["1.5", None, True, math.nan, math.inf, -math.inf, [1], 1e16, 10**400], ids=lambda v: repr(v)[:8]
)
def test_a_wrong_number_is_named(field: str, value: object) -> None:
    symbols = SymbolTable()
    data = [{**GOOD, "sym": "NEW"}, GOOD, {**GOOD, field: value}, {}]
    with pytest.raises(InvalidRequest, match=rf"data\[2\].{field} must be a finite number") as caught:
        parse_ohlcv(data, symbols)
    assert caught.value.param == f"data[2].{field}"
    assert symbols.names == []


@pytest.mark.parametrize("field", ["o", "h", "l", "c", "v"])
def test_a_missing_number_is_named(field: str) -> None:
    row = {name: value for name, value in GOOD.items() if name != field}
    with pytest.raises(InvalidRequest, match=rf"data\[1\].{field} is missing") as caught:
        parse_ohlcv([GOOD, row], SymbolTable())
    assert caught.value.param == f"data[1].{field}"


@pytest.mark.parametrize("row", [None, 3, "row", [1, 2, 3, 4, 5]])
def test_a_row_must_be_an_object(row: object) -> None:
    with pytest.raises(InvalidRequest, match=r"data\[1\] must be an object") as caught:
        parse_ohlcv([GOOD, row], SymbolTable())
    assert caught.value.param == "data[1]"


@pytest.mark.parametrize("field", ["timestamp", "ts"])
@pytest.mark.parametrize("value", ["now", 1.5, True, 1700000000000, -(10**12)])
def test_a_wrong_time_is_named(field: str, value: object) -> None:
    with pytest.raises(InvalidRequest, match="Unix seconds") as caught:
        parse_ohlcv([{**GOOD, field: value}], SymbolTable())
    assert caught.value.param == f"data[0].{field}"


@pytest.mark.parametrize("value", ["", "two words", "a\n", "x,y", "@now", "x" * 33, 7])
def test_a_wrong_symbol_is_named(value: object) -> None:
    symbols = SymbolTable()
    with pytest.raises(InvalidRequest, match="printable characters") as caught:
        parse_ohlcv([GOOD, {**GOOD, "sym": value}], symbols)
    assert caught.value.param == "data[1].sym"
    assert symbols.names == []


def test_symbols_are_bounded() -> None:
    symbols = SymbolTable()
    parse_ohlcv([{**GOOD, "sym": f"S{i}"} for i in range(MAX_SYMBOLS)], symbols)
    with pytest.raises(InvalidRequest, match="symbols"):
        parse_ohlcv([{**GOOD, "sym": "one_more"}], symbols)
    assert len(symbols) == MAX_SYMBOLS


def test_zero_is_a_number_of_either_type() -> None:
    rows = parse_ohlcv([{"o": 0, "h": 0.0, "l": 0, "c": 0, "v": 0}], SymbolTable())
    assert np.array_equal(rows["o"], [0.0])


def test_typed_rows_are_the_plain_ones() -> None:
    data = [
        {**GOOD, "timestamp": 1700000000, "ts": 5, "sym": "AAPL", "colour": "ignored"},
        {**GOOD, "ts": -60, "c": -3, "v": 10**15},
        {**GOOD, "timestamp": None, "ts": 60},
        {**GOOD, "sym": "MSFT"},
    ]
    plain, typed = SymbolTable(), SymbolTable()
    candles = msgspec.json.decode(json.dumps(data), type=list[Candle])
    assert np.array_equal(parse_ohlcv(data, plain), parse_ohlcv(candles, typed))
    assert plain.names == typed.names == ["AAPL", "MSFT"]


def test_a_typed_row_may_have_a_wrong_symbol() -> None:
    symbols = SymbolTable()
    candles = msgspec.convert([{**GOOD, "sym": "A"}, {**GOOD, "sym": "two words"}], list[Candle])
    with pytest.raises(InvalidRequest) as caught:
        parse_ohlcv(candles, symbols)
    assert caught.value.param == "data[1].sym"
    assert symbols.names == []


def test_an_array_is_checked() -> None:
    symbols = SymbolTable()
    rows = parse_ohlcv([GOOD, {**GOOD, "timestamp": 60, "sym": "A"}], SymbolTable())
    with pytest.raises(InvalidRequest, match="sym is 1, the session has 1 symbols"):
        check_ohlcv(rows, symbols)
    assert symbols.names == ["series"]
    symbols.extend(["A"])
    check_ohlcv(rows, symbols)
    check_ohlcv(rows[:0], SymbolTable())


@pytest.mark.parametrize("field", ["o", "h", "l", "c", "v", "timestamp"])
@pytest.mark.parametrize("value", [math.nan, -math.inf, -2e15, 10**17])
def test_a_wrong_value_of_an_array_is_named(field: str, value: float) -> None:
    rows = parse_ohlcv([GOOD] * 3, SymbolTable())
    if field == "timestamp" and not math.isfinite(value):
        value = 10**12
    rows[field][1] = value
    with pytest.raises(InvalidRequest) as caught:
        check_ohlcv(rows, SymbolTable())
    assert caught.value.param == f"data[1].{field}"


def test_an_array_has_the_row_type() -> None:
    rows = np.zeros(4, OHLCV)
    for wrong in (np.zeros(4), rows[::2], rows.reshape(2, 2)):
        with pytest.raises(TypeError):
            check_ohlcv(wrong, SymbolTable())


@pytest.mark.parametrize("name", ["", "a b", "@x"])
def test_the_table_takes_all_names_or_none(name: str) -> None:
    symbols = SymbolTable("A")
    with pytest.raises(InvalidRequest):
        symbols.extend(["B", name])
    assert symbols.names == ["A"]
