from __future__ import annotations

import json
import math
from typing import Any

import msgspec
import numpy as np
import pytest

from kvtape.errors import InvalidRequest
from kvtape.session.row_types import MISSING, OHLCV, ROW_TYPES
from kvtape.session.rows import NameTable, NameTables, check_rows, parse_rows

CANDLES = ROW_TYPES["ohlcv"]
SYMBOL = CANDLES.fields[-1].names
GOOD = {"o": 1.0, "h": 2, "l": 0.5, "c": 1.5, "v": 1000}


def test_rows_become_an_array() -> None:
    tables = NameTables(CANDLES)
    data = [
        {**GOOD, "timestamp": 1700000000, "sym": "AAPL"},
        {**GOOD, "ts": 1700000060, "c": 3},
        {**GOOD, "sym": "MSFT", "colour": "ignored"},
        {**GOOD, "timestamp": None, "sym": None},
    ]
    rows = parse_rows(CANDLES, data, tables)
    assert tables["sym"].names == ["AAPL", "MSFT"]
    assert rows["timestamp"].tolist() == [1700000000, 1700000060, MISSING, MISSING]
    assert rows["sym"].tolist() == [0, 0, 1, 0]
    assert rows["c"].tolist() == [1.5, 3.0, 1.5, 1.5]
    assert rows["h"].tolist() == [2.0] * 4


def test_first_rows_without_a_symbol_get_the_default() -> None:
    tables = NameTables(CANDLES)
    assert parse_rows(CANDLES, [GOOD, {**GOOD, "sym": "B"}], tables)["sym"].tolist() == [0, 1]
    assert tables["sym"].names == ["series", "B"]
    tables = NameTables(CANDLES)
    tables["sym"].extend(["AAPL"])
    assert parse_rows(CANDLES, [{**GOOD, "sym": "B"}, GOOD], tables)["sym"].tolist() == [1, 0]


def test_no_rows() -> None:
    tables = NameTables(CANDLES)
    assert len(parse_rows(CANDLES, [], tables)) == 0
    assert tables["sym"].names == []


def test_real_world_candles_are_taken() -> None:
    odd = [{**GOOD, "h": 0.1, "l": 9}, {**GOOD, "c": -37.63}, {**GOOD, "v": 0}]
    assert len(parse_rows(CANDLES, odd, NameTables(CANDLES))) == 3


@pytest.mark.parametrize("field", ["o", "h", "l", "c", "v"])
@pytest.mark.parametrize(
    "value", ["1.5", None, True, math.nan, math.inf, -math.inf, [1], 1e16, 10**400], ids=lambda v: repr(v)[:8]
)
def test_a_wrong_number_is_named(field: str, value: object) -> None:
    tables = NameTables(CANDLES)
    data = [{**GOOD, "sym": "NEW"}, GOOD, {**GOOD, field: value}, {}]
    with pytest.raises(InvalidRequest, match=rf"data\[2\].{field} must be a finite number") as caught:
        parse_rows(CANDLES, data, tables)
    assert caught.value.param == f"data[2].{field}"
    assert tables["sym"].names == []


@pytest.mark.parametrize("field", ["o", "h", "l", "c", "v"])
def test_a_missing_number_is_named(field: str) -> None:
    row = {name: value for name, value in GOOD.items() if name != field}
    with pytest.raises(InvalidRequest, match=rf"data\[1\].{field} is missing") as caught:
        parse_rows(CANDLES, [GOOD, row], NameTables(CANDLES))
    assert caught.value.param == f"data[1].{field}"


@pytest.mark.parametrize("row", [None, 3, "row", [1, 2, 3, 4, 5]])
def test_a_row_must_be_an_object(row: object) -> None:
    with pytest.raises(InvalidRequest, match=r"data\[1\] must be an object") as caught:
        parse_rows(CANDLES, [GOOD, row], NameTables(CANDLES))
    assert caught.value.param == "data[1]"


@pytest.mark.parametrize("field", ["timestamp", "ts"])
@pytest.mark.parametrize("value", ["now", 1.5, True, 1700000000000, -(10**12)])
def test_a_wrong_time_is_named(field: str, value: object) -> None:
    with pytest.raises(InvalidRequest, match="Unix seconds") as caught:
        parse_rows(CANDLES, [{**GOOD, field: value}], NameTables(CANDLES))
    assert caught.value.param == f"data[0].{field}"


@pytest.mark.parametrize("value", ["", "two words", "a\n", "x,y", "@now", "x" * 33, 7])
def test_a_wrong_symbol_is_named(value: object) -> None:
    tables = NameTables(CANDLES)
    with pytest.raises(InvalidRequest, match="printable characters") as caught:
        parse_rows(CANDLES, [GOOD, {**GOOD, "sym": value}], tables)
    assert caught.value.param == "data[1].sym"
    assert tables["sym"].names == []


def test_symbols_are_bounded() -> None:
    tables = NameTables(CANDLES)
    parse_rows(CANDLES, [{**GOOD, "sym": f"S{i}"} for i in range(SYMBOL.most)], tables)
    with pytest.raises(InvalidRequest, match="symbols"):
        parse_rows(CANDLES, [{**GOOD, "sym": "one_more"}], tables)
    assert len(tables["sym"]) == SYMBOL.most


def test_zero_is_a_number_of_either_type() -> None:
    rows = parse_rows(CANDLES, [{"o": 0, "h": 0.0, "l": 0, "c": 0, "v": 0}], NameTables(CANDLES))
    assert np.array_equal(rows["o"], [0.0])


def test_typed_rows_are_the_plain_ones() -> None:
    data = [
        {**GOOD, "timestamp": 1700000000, "ts": 5, "sym": "AAPL", "colour": "ignored"},
        {**GOOD, "ts": -60, "c": -3, "v": 10**15},
        {**GOOD, "timestamp": None, "ts": 60},
        {**GOOD, "sym": "MSFT"},
    ]
    plain, typed = NameTables(CANDLES), NameTables(CANDLES)
    candles = msgspec.json.decode(json.dumps(data), type=list[CANDLES.model])
    assert np.array_equal(parse_rows(CANDLES, data, plain), parse_rows(CANDLES, candles, typed))
    assert plain["sym"].names == typed["sym"].names == ["AAPL", "MSFT"]


def test_a_typed_row_may_have_a_wrong_symbol() -> None:
    tables = NameTables(CANDLES)
    candles = msgspec.convert([{**GOOD, "sym": "A"}, {**GOOD, "sym": "two words"}], list[CANDLES.model])
    with pytest.raises(InvalidRequest) as caught:
        parse_rows(CANDLES, candles, tables)
    assert caught.value.param == "data[1].sym"
    assert tables["sym"].names == []


def test_an_array_is_checked() -> None:
    tables = NameTables(CANDLES)
    rows = parse_rows(CANDLES, [GOOD, {**GOOD, "timestamp": 60, "sym": "A"}], NameTables(CANDLES))
    with pytest.raises(InvalidRequest, match="sym is 1, the session has 1 symbols"):
        check_rows(CANDLES, rows, tables)
    assert tables["sym"].names == ["series"]
    tables["sym"].extend(["A"])
    check_rows(CANDLES, rows, tables)
    check_rows(CANDLES, rows[:0], NameTables(CANDLES))


@pytest.mark.parametrize("field", ["o", "h", "l", "c", "v", "timestamp"])
@pytest.mark.parametrize("value", [math.nan, -math.inf, -2e15, 10**17])
def test_a_wrong_value_of_an_array_is_named(field: str, value: float) -> None:
    rows = parse_rows(CANDLES, [GOOD] * 3, NameTables(CANDLES))
    if field == "timestamp" and not math.isfinite(value):
        value = 10**12
    rows[field][1] = value
    with pytest.raises(InvalidRequest) as caught:
        check_rows(CANDLES, rows, NameTables(CANDLES))
    assert caught.value.param == f"data[1].{field}"


def test_an_array_has_the_row_type() -> None:
    rows = np.zeros(4, OHLCV)
    for wrong in (np.zeros(4), rows[::2], rows.reshape(2, 2)):
        with pytest.raises(TypeError):
            check_rows(CANDLES, wrong, NameTables(CANDLES))


@pytest.mark.parametrize("name", ["", "a b", "@x"])
def test_the_table_takes_all_names_or_none(name: str) -> None:
    symbols = NameTable(SYMBOL)
    symbols.extend(["A"])
    with pytest.raises(InvalidRequest):
        symbols.extend(["B", name])
    assert symbols.names == ["A"]


# -- the other types ---------------------------------------------------------------------------------------------------

ROWS = {
    "iot": {"sid": "pump 3", "val": 21.5, "lo": 18, "hi": 25},
    "spatial": {"x": 1, "y": -2.5, "z": 0, "spd": 3.25, "hdg": 359},
    "event": {"src": "db-1", "sev": 4, "cat": "disk", "cnt": 17},
    "vitals": {"hr": 72, "bp_s": 120, "bp_d": 80, "spo2": 98.5, "temp": 36.8},
}


def parse(name: str, rows: list[Any], tables: NameTables | None = None) -> np.ndarray:
    row_type = ROW_TYPES[name]
    return parse_rows(row_type, rows, NameTables(row_type) if tables is None else tables)


@pytest.mark.parametrize("name", ROWS)
def test_rows_of_each_type_become_an_array(name: str) -> None:
    tables = NameTables(ROW_TYPES[name])
    rows = parse(name, [ROWS[name] | {"timestamp": 60, "x_ignored": []}, ROWS[name] | {"ts": 120}, ROWS[name]], tables)
    assert rows["timestamp"].tolist() == [60, 120, MISSING]
    for field, value in ROWS[name].items():
        index = [tables[field][value]] * 3 if isinstance(value, str) else [value] * 3
        assert rows[field].tolist() == index
    check_rows(ROW_TYPES[name], rows, tables)


@pytest.mark.parametrize(("name", "field"), [(name, field) for name, row in ROWS.items() for field in row])
def test_a_missing_field_is_named(name: str, field: str) -> None:
    row = {key: value for key, value in ROWS[name].items() if key != field}
    with pytest.raises(InvalidRequest, match=rf"data\[1\].{field} is missing; a row of type {name} has ") as caught:
        parse(name, [ROWS[name], row])
    assert caught.value.param == f"data[1].{field}"


@pytest.mark.parametrize(("name", "field"), [(name, field) for name, row in ROWS.items() for field in row])
@pytest.mark.parametrize("value", [None, True, [1], {}, math.nan, math.inf, 1e16, 10**400], ids=lambda v: repr(v)[:8])
def test_a_wrong_field_is_named_and_no_name_is_kept(name: str, field: str, value: object) -> None:
    tables = NameTables(ROW_TYPES[name])
    with pytest.raises(InvalidRequest) as caught:
        parse(name, [ROWS[name], ROWS[name] | {field: value}], tables)
    assert caught.value.param == f"data[1].{field}"
    assert not any(tables.indices)


@pytest.mark.parametrize("field", ["sev", "cnt"])
@pytest.mark.parametrize(
    ("value", "fine"), [(-3, True), (10**15, True), (10**15 + 1, False), (1.5, False), ("4", False)]
)
def test_whole_numbers(field: str, value: object, fine: bool) -> None:
    rows = [ROWS["event"] | {field: value}]
    if fine:
        assert parse("event", rows)[field].tolist() == [value]
        return
    with pytest.raises(InvalidRequest, match="whole number") as caught:
        parse("event", rows)
    assert caught.value.param == f"data[0].{field}"


@pytest.mark.parametrize("value", ["", "two words", "a\nb", '"', "@x", "é" * 64])
def test_other_names_than_symbols_are_any_text(value: str) -> None:
    tables = NameTables(ROW_TYPES["iot"])
    parse("iot", [ROWS["iot"] | {"sid": value}], tables)
    assert tables["sid"].names == [value]


@pytest.mark.parametrize("value", ["x" * 65, "\ud800", 7])
def test_a_giant_or_broken_name_is_refused(value: object) -> None:
    tables = NameTables(ROW_TYPES["event"])
    with pytest.raises(InvalidRequest, match="text of at most 64 characters") as caught:
        parse("event", [ROWS["event"], ROWS["event"] | {"cat": value, "src": "new"}], tables)
    assert caught.value.param == "data[1].cat"
    assert not len(tables["src"])


def test_names_are_bounded_and_all_tables_grow_or_none() -> None:
    tables = NameTables(ROW_TYPES["event"])
    most = tables["cat"].rule.most
    parse("event", [ROWS["event"] | {"cat": str(i)} for i in range(most)], tables)
    with pytest.raises(InvalidRequest, match=f"more than {most} categories in one session") as caught:
        parse("event", [ROWS["event"] | {"cat": "one more", "src": "new"}], tables)
    assert caught.value.param == "data"
    assert (tables["src"].names, len(tables["cat"])) == (["db-1"], most)
    assert len(parse("event", [ROWS["event"] | {"cat": "7"}], tables)) == 1


@pytest.mark.parametrize("name", ROWS)
def test_rows_of_another_type_are_refused_by_the_first_field_they_lack(name: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse(name, [GOOD])
    assert caught.value.param == f"data[0].{next(iter(ROWS[name]))}"


def test_each_name_of_an_array_counts_its_table() -> None:
    tables = NameTables(ROW_TYPES["event"])
    rows = parse("event", [ROWS["event"]] * 3, tables)
    rows["cat"][2] = 1
    with pytest.raises(InvalidRequest, match="the session has 1 categories") as caught:
        check_rows(ROW_TYPES["event"], rows, tables)
    assert caught.value.param == "data[2].cat"


def test_times_may_go_back() -> None:
    assert parse("vitals", [ROWS["vitals"] | {"timestamp": time} for time in (60, 0, 60)])["timestamp"].tolist() == [
        60, 0, 60,
    ]  # fmt: skip
