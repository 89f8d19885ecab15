from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvtape import _core
from kvtape.data import CANDLE_SYMBOLS, load_candles
from kvtape.errors import InvalidRequest
from kvtape.model.tokenizer import Tokenizer
from kvtape.session.row_text import RowEncoder, RowStyle, choose_scale, decode_ohlcv
from kvtape.session.row_types import MISSING, OHLCV, ROW_TYPES
from kvtape.session.rows import NameTables, parse_rows

DAY = 86400
HOUR = 3600
CANDLES = ROW_TYPES["ohlcv"]
MONDAY = 1361750400  # 2013-02-25


def make_rows(times: list[int], **columns: object) -> np.ndarray:
    rows = np.zeros(len(times), OHLCV)
    rows["timestamp"] = times
    for name, value in {"o": 27.72, "h": 27.98, "l": 27.52, "c": 27.95, "v": 34_849_700, **columns}.items():
        rows[name] = value
    return rows


def symbol_tables(*names: str) -> NameTables:
    tables = NameTables(CANDLES)
    tables["sym"].extend(names)
    return tables


def encoder_of(*names: str, **options: Any) -> RowEncoder:
    return RowEncoder(CANDLES, symbol_tables(*names), **options)


def text_of(rows: np.ndarray, encoder: RowEncoder, cuts: list[int] | None = None) -> str:
    batches = [batch for batch in np.split(rows, cuts or []) if len(batch)]
    return encoder.header(batches[0]) + "".join(text for batch in batches for text in encoder.encode(batch))


def times_written(rows: np.ndarray, **options: object) -> list[str]:
    encoder = encoder_of("X", **options)
    return [text.split()[0] if text.startswith("@") else "" for text in encoder.encode(rows)]


def test_compact_rows_to_the_letter() -> None:
    rows = load_candles("AAPL")[-2:]
    encoder = encoder_of("AAPL", tick=0.01)
    assert encoder.header(rows) == (
        "Candles, one a line: close, then open, high, low relative to it, then volume;"
        " @ gives the time where it jumps.\n"
        "AAPL: price unit 0.01, volume unit 1000000, every weekday.\n"
    )
    assert encoder.encode(rows) == ["@2013-02-28 44140 +265 +647 +0 12\n", "43047 +753 +771 -49 20\n"]


def test_plain_rows_to_the_letter() -> None:
    rows = load_candles("AAPL")[-1:]
    rows = np.concatenate([rows, rows, rows])
    rows["timestamp"][1:] = [MISSING, rows["timestamp"][0] + 3661]
    rows["sym"][2] = 1
    symbols = symbol_tables("AAPL", "X")
    encoder = RowEncoder(CANDLES, symbols, style="plain")
    assert encoder.header(rows) == "AAPL candles, one a line: time,open,high,low,close,volume\n"
    assert encoder.encode(rows) == [
        "2013-03-01,438,438.1799,429.98,430.47,19730300\n",
        ",438,438.1799,429.98,430.47,19730300\n",
        "X,2013-03-01T01:01:01,438,438.1799,429.98,430.47,19730300\n",
    ]


def test_a_second_symbol_brings_its_own_scale() -> None:
    rows = np.concatenate([make_rows([MONDAY, MONDAY + DAY]), make_rows([MONDAY] * 2, c=2500, o=2510, v=5.5, sym=1)])
    rows = rows[[0, 2, 1, 3]]
    rows["timestamp"][3] += DAY
    symbols = symbol_tables("AAPL", "BTC/USD")
    encoder = RowEncoder(CANDLES, symbols, tick=None)
    texts = encoder.encode(rows)
    assert texts[1] == (
        "BTC/USD: price unit 1, volume unit 0.1, every weekday.\nBTC/USD @2013-02-25 2500 +10 -2472 -2472 55\n"
    )
    assert texts[3] == "BTC/USD 2500 +10 -2472 -2472 55\n"
    found, names = decode_ohlcv(encoder.header(rows) + "".join(texts))
    assert names == symbols["sym"].names
    assert found["timestamp"].tolist() == rows["timestamp"].tolist()


def test_the_header_names_the_symbol_of_the_first_row() -> None:
    symbols = symbol_tables("AAPL", "MSFT")
    encoder = RowEncoder(CANDLES, symbols)
    rows = make_rows([MONDAY], sym=1)
    assert "MSFT: price" in encoder.header(rows)
    assert encoder.encode(rows)[0].startswith("@2013")


def test_weekends_are_expected_gaps_and_holidays_are_not() -> None:
    times = [MONDAY + day * DAY for day in (0, 1, 2, 3, 4, 7, 9, 10)]  # the second Tuesday is missing
    assert times_written(make_rows(times)) == ["@2013-02-25", "", "", "", "", "", "@2013-03-06", ""]


def test_a_row_on_a_weekend_ends_the_five_day_week() -> None:
    times = [MONDAY + day * DAY for day in range(15)]
    written = times_written(make_rows(times[:4]), interval=DAY)
    assert written == ["@2013-02-25", "", "", ""]
    encoder = encoder_of("X")
    texts = encoder.encode(make_rows(times[:4])) + encoder.encode(make_rows(times[4:]))
    assert [i for i, text in enumerate(texts) if "@" in text] == [0, 5]


def test_the_interval_is_learned_from_single_rows() -> None:
    encoder = encoder_of("X")
    times = [MONDAY + 9 * HOUR + 60 * i for i in range(5)] + [MONDAY + 33 * HOUR + 60 * i for i in range(3)]
    header = encoder.header(make_rows(times[:1]))
    assert "every" not in header
    texts = [encoder.encode(make_rows([time]))[0] for time in times]
    written = [text.split()[0] if "@" in text else "" for text in texts]
    assert written == ["@2013-02-25T09:00", "@2013-02-25T09:01", "", "", "", "@2013-02-26T09:00", "", ""]
    assert decode_ohlcv(header + "".join(texts))[0]["timestamp"].tolist() == times


def test_a_missing_time_is_said_where_one_was_expected() -> None:
    rows = make_rows([MISSING, MONDAY, MISSING, MISSING, MONDAY + 2 * DAY, MONDAY + 3 * DAY])
    assert times_written(rows, interval=DAY) == ["", "@2013-02-25", "@-", "", "@2013-02-27", ""]


@pytest.mark.parametrize(
    ("closes", "volumes", "price_unit", "volume_unit"),
    [
        ([430.5, 441.0], [19e6, 12e6], 0.1, 1e6),
        ([27.95], [34_849_700], 0.01, 1e6),
        ([1.0842], [0], 0.001, 1.0),
        ([0.00001234], [1e12], 1e-8, 1e11),
        ([0.0], [0.25], 1.0, 0.01),
        ([-37.63, -38.0], [100], 0.01, 10.0),
        ([9999.0, 10001.0, 10002.0], [1], 10.0, 0.1),
        ([1e-300], [5e-324], 1e-12, 1e-12),  # so that no later price is more units than a float can count
    ],
)
def test_scale_is_chosen_by_the_typical_row(
    closes: list[float], volumes: list[float], price_unit: float, volume_unit: float
) -> None:
    rows = make_rows([MISSING] * len(closes), c=closes, v=np.resize(volumes, len(closes)))
    scale = choose_scale(rows, None, None, None)
    assert (scale.price_unit, scale.volume_unit, scale.interval) == (price_unit, volume_unit, None)


prices = st.floats(-1e6, 1e6).map(lambda x: round(x, 4))
gaps = st.sampled_from([0, 1, 60, HOUR, DAY, DAY, DAY, 3 * DAY, -DAY])


@st.composite
def candles(draw: st.DrawFn) -> np.ndarray:
    n = draw(st.integers(1, 30))
    times, time = [], MONDAY + draw(st.integers(-5000, 5000)) * draw(st.sampled_from([1, HOUR, DAY]))
    for gap, missing in draw(st.lists(st.tuples(gaps, st.integers(0, 9)), min_size=n, max_size=n)):
        time += gap
        times.append(MISSING if missing == 0 else time)
    rows = make_rows(times)
    for name in "ohlc":
        rows[name] = draw(st.lists(prices, min_size=n, max_size=n))
    rows["v"] = draw(st.lists(st.floats(0, 1e12), min_size=n, max_size=n))
    rows["sym"] = draw(st.lists(st.integers(0, 2), min_size=n, max_size=n))
    return rows


@settings(max_examples=300, deadline=None)
@given(
    rows=candles(),
    tick=st.sampled_from([None, 0.01, 0.25, 1e-6, 5.0]),
    interval=st.sampled_from([None, DAY, 60]),
    cut=st.integers(1, 30),
)
def test_compact_is_read_back_within_half_a_unit(
    rows: np.ndarray, tick: float | None, interval: int | None, cut: int
) -> None:
    symbols = symbol_tables("A", "BRK.B", "^GSPC")
    encoder = RowEncoder(CANDLES, symbols, tick=tick, interval=interval)
    found, names = decode_ohlcv(text_of(rows, encoder, [cut]))
    assert [names[i] for i in found["sym"]] == [symbols["sym"].names[i] for i in rows["sym"]]
    assert found["timestamp"].tolist() == rows["timestamp"].tolist()
    for i, row in enumerate(rows):
        scale = encoder.scales[symbols["sym"].names[row["sym"]]]
        for name in "ohlc":
            slack = 4 * np.spacing(abs(row[name]))  # of the division and the product
            assert abs(found[name][i] - row[name]) <= scale.price_unit / 2 + slack
        assert abs(found["v"][i] - row["v"]) <= scale.volume_unit / 2 + 4 * np.spacing(row["v"])


@settings(max_examples=200, deadline=None)
@given(rows=candles(), cut=st.integers(1, 30))
def test_plain_is_read_back_exactly(rows: np.ndarray, cut: int) -> None:
    symbols = symbol_tables("A", "BRK.B", "^GSPC")
    rows["sym"][0] = 0
    found, names = decode_ohlcv(text_of(rows, RowEncoder(CANDLES, symbols, style="plain"), [cut]), style="plain")
    assert [names[i] for i in found["sym"]] == [symbols["sym"].names[i] for i in rows["sym"]]
    for name in ("timestamp", "o", "h", "l", "c", "v"):
        assert found[name].tolist() == rows[name].tolist()


def test_text_does_not_depend_on_the_batches() -> None:
    rows = load_candles("GOOG")
    first, second = (encoder_of("GOOG", tick=0.1, volume_unit=1e5, interval=DAY) for _ in range(2))
    assert text_of(rows, first) == text_of(rows, second, [1, 2, 50, 51, 600])


def test_extreme_values_are_written_out() -> None:
    rows = make_rows([MISSING], c=1e15, o=-1e15, h=0, l=0, v=1e15)
    found, _ = decode_ohlcv(text_of(rows, encoder_of("X", tick=1e-6, volume_unit=1e-6)))
    assert found["c"][0] == pytest.approx(1e15)
    assert found["o"][0] == pytest.approx(-1e15)


@pytest.mark.parametrize("year", [1, 1600, 1969, 2000, 9999])
def test_every_year_can_be_written(year: int) -> None:
    time = int(datetime(year, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp())
    found, _ = decode_ohlcv(text_of(make_rows([time]), encoder_of("X")))
    assert found["timestamp"].tolist() == [time]


@pytest.mark.parametrize(
    "line", ["4305 +1 +2", "4305 1 2 3 4", "A B 1 +1 +1 +1 1", "B 1 +1 +1 +1 1", "@2013-01-01 @2013-01-02 1 +1 +1 +1 1"]
)
def test_what_is_no_row_is_refused(line: str) -> None:
    good = text_of(make_rows([MONDAY]), encoder_of("A"))
    with pytest.raises(InvalidRequest, match="line 4"):
        decode_ohlcv(good + line + "\n")


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"tick": 0.0}, "tick"),
        ({"tick": float("nan")}, "tick"),
        ({"volume_unit": -1.0}, "volume_unit"),
        ({"interval": 0}, "interval"),
        ({"style": "json"}, "style"),
    ],
)
def test_bad_options_are_named(options: dict[str, object], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        encoder_of(**options)
    assert caught.value.param == param


def test_rows_of_another_dtype_are_refused() -> None:
    with pytest.raises(TypeError, match="ohlcv"):
        encoder_of("A").encode(np.zeros(3))


def digit_tokens(text: str) -> Iterator[str]:
    """A lower bound of any tokenizer that splits digits: one token a digit, one between runs of digits."""
    in_digits = True
    for character in text:
        if character.isdigit() or in_digits:
            yield character
        in_digits = character.isdigit()


@pytest.mark.parametrize("symbol", CANDLE_SYMBOLS)
@pytest.mark.parametrize(("tick", "most"), [(None, 18), (0.01, 22)])
def test_a_daily_candle_is_short(symbol: str, tick: float | None, most: int) -> None:
    texts = encoder_of(symbol, tick=tick).encode(load_candles(symbol))
    assert np.mean([sum(1 for _ in digit_tokens(text)) for text in texts]) <= most


@pytest.mark.model
@pytest.mark.parametrize(("tick", "least", "most"), [(None, 15, 18), (0.01, 18, 22)])
def test_tokens_of_a_daily_candle(model_path: Path, tick: float | None, least: int, most: int) -> None:
    tokenizer = Tokenizer.from_gguf(_core.GgufFile(str(model_path)).metadata)
    for symbol in CANDLE_SYMBOLS:
        rows = load_candles(symbol)
        encoder = encoder_of(symbol, tick=tick)
        texts = [encoder.header(rows), *encoder.encode(rows)]
        ids = [tokenizer.encode(text) for text in texts]
        assert least <= np.mean([len(row) for row in ids[1:]]) <= most
        assert tokenizer.encode("".join(texts)) == [token_id for row in ids for token_id in row]


# -- the other types ---------------------------------------------------------------------------------------------------

LINES = {
    "iot": (
        [
            {"sid": "boiler", "val": 71.25, "lo": 60, "hi": 85, "timestamp": MONDAY},
            {"sid": "pump 3", "val": -0.5, "lo": -1.0, "hi": 1e-7, "timestamp": MONDAY},
            {"sid": "boiler", "val": 1 / 3, "lo": 60, "hi": 85, "timestamp": MONDAY + 30},
            {"sid": "boiler", "val": 86, "lo": 60, "hi": 85, "timestamp": MONDAY + 60},
            {"sid": "boiler", "val": 86, "lo": 60, "hi": 85},
        ],
        """\
Sensor readings, one a line: sensor, value, low limit, high limit; @ gives the time where it jumps.
@2013-02-25 boiler 71.25 60 85
@2013-02-25 "pump 3" -0.5 -1 0.0000001
@2013-02-25T00:00:30 boiler 0.333333 60 85
boiler 86 60 85
@- boiler 86 60 85
""",
        """\
sensor readings, one a line: time,sensor,value,low limit,high limit
2013-02-25,boiler,71.25,60,85
2013-02-25,"pump 3",-0.5,-1,0.0000001
2013-02-25T00:00:30,boiler,0.3333333333333333,60,85
2013-02-25T00:01,boiler,86,60,85
,boiler,86,60,85
""",
    ),
    "spatial": (
        [
            {"x": 52.520008, "y": 13.404954, "z": 34, "spd": 3.25, "hdg": 359.5, "timestamp": MONDAY},
            {"x": 52.5200081234, "y": 13.40495411, "z": 34.125, "spd": 0, "hdg": 1},
        ],
        """\
Positions, one a line: x, y, z, speed, heading in degrees; @ gives the time where it jumps.
@2013-02-25 52.520008 13.404954 34 3.25 359.5
52.5200081 13.4049541 34.125 0 1
""",
        """\
positions, one a line: time,x,y,z,speed,heading
2013-02-25,52.520008,13.404954,34,3.25,359.5
,52.5200081234,13.40495411,34.125,0,1
""",
    ),
    "event": (
        [
            {"src": "db-1", "sev": 4, "cat": "disk full", "cnt": 17, "timestamp": MONDAY + HOUR},
            {"src": "web", "sev": -1, "cat": "", "cnt": 1, "timestamp": MONDAY + HOUR - 1},
            {"src": "@x", "sev": 0, "cat": 'a\n"b', "cnt": 0},
        ],
        """\
Events, one a line: source, severity, category, count; @ gives the time where it jumps.
@2013-02-25T01:00 db-1 4 "disk full" 17
@2013-02-25T00:59:59 web -1 "" 1
"@x" 0 "a\\n\\"b" 0
""",
        """\
events, one a line: time,source,severity,category,count
2013-02-25T01:00,db-1,4,"disk full",17
2013-02-25T00:59:59,web,-1,"",1
,"@x",0,"a\\n\\"b",0
""",
    ),
    "vitals": (
        [
            {"hr": 72, "bp_s": 120, "bp_d": 80, "spo2": 98.5, "temp": 36.8, "timestamp": MONDAY},
            {"hr": 101.5, "bp_s": 138, "bp_d": 91.25, "spo2": 89, "temp": 38, "timestamp": MONDAY + 60},
        ],
        """\
Vital signs, one a line: heart rate, blood pressure, SpO2, temperature; @ gives the time where it jumps.
@2013-02-25 72 120/80 98.5 36.8
@2013-02-25T00:01 101.5 138/91.25 89 38
""",
        """\
vital signs, one a line: time,heart rate,systolic,diastolic,SpO2,temperature
2013-02-25,72,120,80,98.5,36.8
2013-02-25T00:01,101.5,138,91.25,89,38
""",
    ),
}


@pytest.mark.parametrize("style", ["compact", "plain"])
@pytest.mark.parametrize("name", LINES)
def test_lines_of_each_type_to_the_letter(name: str, style: RowStyle) -> None:
    data, compact, plain = LINES[name]
    tables = NameTables(ROW_TYPES[name])
    rows = parse_rows(ROW_TYPES[name], data, tables)
    assert text_of(rows, RowEncoder(ROW_TYPES[name], tables, style=style)) == (compact if style == "compact" else plain)


values = {
    "number": st.floats(-1e15, 1e15),
    "integer": st.integers(-(10**15), 10**15),
    "name": st.sampled_from(["a", "pump 3", "", "@", 'q"', "é\u2028", "two\nlines"]),
}


@st.composite
def json_rows(draw: st.DrawFn) -> tuple[str, list[dict[str, Any]]]:
    row_type = ROW_TYPES[draw(st.sampled_from(list(LINES)))]
    fields = {field.name: values[field.kind] for field in row_type.fields}
    times = st.none() | st.integers(0, 5).map(lambda step: MONDAY + 60 * step)
    rows = st.fixed_dictionaries({**fields, "timestamp": times})
    return row_type.name, draw(st.lists(rows, min_size=1, max_size=12))


@settings(max_examples=200, deadline=None)
@given(
    case=json_rows(),
    cuts=st.lists(st.integers(0, 12), max_size=3).map(sorted),
    style=st.sampled_from(["compact", "plain"]),
)
def test_lines_are_one_a_row_and_the_same_in_any_batches(
    case: tuple[str, list[dict[str, Any]]], cuts: list[int], style: RowStyle
) -> None:
    row_type, data = ROW_TYPES[case[0]], case[1]
    tables = NameTables(row_type)
    rows = parse_rows(row_type, data, tables)
    text = text_of(rows, RowEncoder(row_type, tables, style=style))
    assert len(text.split("\n")) == len(data) + 2  # the header, the rows, nothing after the last newline
    late = NameTables(row_type)  # names come batch by batch
    encoder = RowEncoder(row_type, late, style=style)
    pieces = [data[begin:end] for begin, end in pairwise([0, *cuts, len(data)]) if data[begin:end]]
    arrays = [parse_rows(row_type, piece, late) for piece in pieces]
    header = encoder.header(arrays[0])
    assert header + "".join(line for array in arrays for line in encoder.encode(array)) == text


@pytest.mark.model
@pytest.mark.parametrize(("name", "most"), [("iot", 24), ("spatial", 38), ("event", 24), ("vitals", 24)])
def test_tokens_of_the_other_types(model_path: Path, name: str, most: int) -> None:
    tokenizer = Tokenizer.from_gguf(_core.GgufFile(str(model_path)).metadata)
    row_type = ROW_TYPES[name]
    tables = NameTables(row_type)
    rows = parse_rows(row_type, [row | {"timestamp": None} for row in LINES[name][0]], tables)
    encoder = RowEncoder(row_type, tables)
    texts = [encoder.header(rows), *encoder.encode(rows)]
    ids = [tokenizer.encode(text) for text in texts]
    assert [tokenizer.encode(text) for text in texts] == ids
    assert max(len(row) for row in ids[1:]) <= most
    assert tokenizer.decode([token_id for row in ids for token_id in row]) == "".join(texts)


def test_times_and_scales_are_spelled_out_again():
    """What a window keeps is readable by itself: the header's scale stays, all else is said anew."""
    names = NameTables(ROW_TYPES["ohlcv"])
    encoder = RowEncoder(ROW_TYPES["ohlcv"], names)
    candles = [
        {"o": 10, "h": 11, "l": 9, "c": 10, "v": 5, "sym": sym, "timestamp": 60 * t}
        for t in range(1, 9)
        for sym in ("A", "B")
    ]
    rows = parse_rows(ROW_TYPES["ohlcv"], candles, names)
    header = encoder.header(rows[:4])
    first, goes_on = encoder.encode(rows[:4]), encoder.encode(rows[4:8])
    encoder.introduce_again()
    again = encoder.encode(rows[8:])
    assert not any("@" in text or "unit" in text for text in goes_on)
    assert again[0].startswith("@1970-01-01T00:05 ")
    assert again[1].startswith("B: price unit ")
    assert "@1970-01-01T00:05 " in again[1]
    decoded, symbols = decode_ohlcv(header + "".join(again))
    assert symbols == ["A", "B"]
    assert decoded["timestamp"].tolist() == rows["timestamp"][8:].tolist()
    decoded, _ = decode_ohlcv(header + "".join(first + goes_on))
    assert decoded["timestamp"].tolist() == rows["timestamp"][:8].tolist()
