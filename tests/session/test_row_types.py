"""The schemas, against the fields of the wire specification."""

from __future__ import annotations

from typing import NotRequired, get_type_hints

import msgspec
import numpy as np
import pytest

from kvtape.protocols.layerscale import models
from kvtape.protocols.layerscale.create import STREAM_TYPES
from kvtape.session.row_types import EVENT, IOT, MISSING, OHLCV, ROW_TYPES, SPATIAL, VITALS
from kvtape.session.stats import STATS

# 9.7: name -> required fields
REQUIRED = {
    "ohlcv": {"o": float, "h": float, "l": float, "c": float, "v": float},
    "iot": {"sid": str, "val": float, "lo": float, "hi": float},
    "spatial": {"x": float, "y": float, "z": float, "spd": float, "hdg": float},
    "event": {"src": str, "sev": int, "cat": str, "cnt": int},
    "vitals": {"hr": float, "bp_s": float, "bp_d": float, "spo2": float, "temp": float},
}
SAMPLES = {float: b"1.5", str: b'"a"', int: b"7"}


def test_there_are_the_types_of_the_protocol() -> None:
    assert tuple(ROW_TYPES) == STREAM_TYPES == tuple(REQUIRED) == tuple(STATS)
    assert [ROW_TYPES[name].dtype for name in REQUIRED] == [OHLCV, IOT, SPATIAL, EVENT, VITALS]


@pytest.mark.parametrize("name", REQUIRED)
def test_required_and_optional_fields(name: str) -> None:
    required = REQUIRED[name]
    fields = {field.name: field for field in msgspec.structs.fields(ROW_TYPES[name].model)}
    assert [key for key, field in fields.items() if field.required] == list(required)
    assert set(fields) - set(required) == {"timestamp", "ts"} | ({"sym"} if name == "ohlcv" else set())
    body = b"{" + b",".join(b'"%s":%s' % (key.encode(), SAMPLES[kind]) for key, kind in required.items()) + b"}"
    row = msgspec.json.decode(body, type=ROW_TYPES[name].model)
    assert [type(getattr(row, key)) for key in required] == list(required.values())


@pytest.mark.parametrize("name", REQUIRED)
def test_the_rows_of_the_client_are_the_same(name: str) -> None:
    hints = get_type_hints(getattr(models, f"{name.capitalize()}Row"), include_extras=True)
    optional = {"timestamp": NotRequired[int]} | ({"sym": NotRequired[str]} if name == "ohlcv" else {})
    assert hints == REQUIRED[name] | optional


@pytest.mark.parametrize("row_type", ROW_TYPES.values(), ids=str)
def test_rows_are_small_and_fields_aligned(row_type) -> None:
    assert row_type.dtype.itemsize <= 56
    assert row_type.offset("timestamp") == 0
    for field in row_type.fields:
        assert row_type.offset(field.name) % row_type.dtype[field.name].itemsize == 0
    assert {column.field for column in row_type.columns} | {row_type.series} >= {
        field.name for field in row_type.fields
    }


def test_the_layout_of_candles_stays() -> None:
    assert OHLCV.names == ("timestamp", "o", "h", "l", "c", "v", "sym")
    assert [OHLCV.fields[name][1] for name in OHLCV.names] == [0, 8, 16, 24, 32, 40, 48]
    assert np.array(MISSING, "i8") == np.iinfo(np.int64).min
