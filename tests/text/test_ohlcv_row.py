"""What a session takes for a candle, at the limits; tests/session/test_rows.py has the errors."""

from __future__ import annotations

import numpy as np
import pytest

from kvtape import _core
from kvtape.session.rows import MAX_MAGNITUDE, MAX_TIME, MIN_TIME, MISSING, OHLCV

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
    assert _core.count_valid_ohlcv(rows, 3) == (3 if fine else 1)


@pytest.mark.parametrize(
    "candle",
    [(1.0,) * 7, [1.0] * 8, (1.0, 1.0, 1.0, 1.0, "v", None, None, None), (1.0,) * 5 + (1 << 70, None, None)],
)
def test_a_candle_is_a_tuple_of_its_fields(candle: object) -> None:
    with pytest.raises((TypeError, OverflowError)):
        _core.fill_ohlcv([candle], {}, np.zeros(1, OHLCV))


def test_a_candle_has_a_row_and_a_known_symbol() -> None:
    candle = (1.0, 2.0, 3.0, 4.0, 5.0, None, None, "A")
    with pytest.raises(TypeError):
        _core.fill_ohlcv([candle], {"A": 0}, np.zeros(2, OHLCV))
    with pytest.raises(KeyError):
        _core.fill_ohlcv([candle], {"B": 0}, np.zeros(1, OHLCV))
    rows = np.zeros(1, OHLCV)
    _core.fill_ohlcv([candle], {"A": 7}, rows)
    assert rows[0].item() == (MISSING, 1.0, 2.0, 3.0, 4.0, 5.0, 7)
