"""The native renderer by itself; tests/session/test_row_text.py reads its lines back."""

from __future__ import annotations

import numpy as np
import pytest

from kvtape import _core
from kvtape.errors import InvalidRequest
from kvtape.session.rows import MISSING, OHLCV

SCALE = {"symbol": "A", "price_unit": 0.5, "volume_unit": 10.0, "interval": None, "weekdays_only": False}


def rows(n: int) -> np.ndarray:
    out = np.zeros(n, OHLCV)
    out["timestamp"] = MISSING
    out["c"] = np.arange(n)
    return out


@pytest.mark.parametrize("compact", [True, False])
def test_offsets_cut_the_text_at_its_newlines(compact: bool) -> None:
    text = _core.OhlcvText(compact=compact)
    text.add_symbol(**SCALE)
    rendered, offsets = text.render(rows(12))
    assert offsets.tolist() == [0, *(i + 1 for i, byte in enumerate(rendered) if byte == ord("\n"))]
    assert len(offsets) == 13


def test_no_rows() -> None:
    rendered, offsets = _core.OhlcvText(compact=True).render(rows(0))
    assert (rendered, offsets.tolist()) == (b"", [0])


def test_halves_go_to_the_even_unit() -> None:
    text = _core.OhlcvText(compact=True)
    text.add_symbol(**{**SCALE, "price_unit": 1.0})
    candle = rows(1)
    candle["c"], candle["o"], candle["h"], candle["l"], candle["v"] = 2.5, 3.5, -0.4, 0.5, 25
    assert text.render(candle)[0] == b"2 +2 -2 -2 2\n"


@pytest.mark.parametrize(
    "scale",
    [{"price_unit": 0.0}, {"price_unit": float("inf")}, {"volume_unit": -1.0}, {"interval": 0}],
)
def test_units_must_be_positive(scale: dict[str, float]) -> None:
    with pytest.raises(InvalidRequest, match="units and interval of A must be positive"):
        _core.OhlcvText(compact=True).add_symbol(**{**SCALE, **scale})


def test_unknown_symbols_are_refused_and_nothing_changes() -> None:
    text = _core.OhlcvText(compact=True)
    with pytest.raises(InvalidRequest, match="first symbol"):
        text.header()
    text.add_symbol(**{**SCALE, "interval": 60})
    bad = rows(3)
    bad["timestamp"] = [0, 60, 120]
    bad["sym"][2] = 1
    with pytest.raises(InvalidRequest, match="row 2 has symbol index 1 of 1"):
        text.render(bad)
    assert text.render(bad[:1])[0].startswith(b"@1970-01-01 ")


@pytest.mark.parametrize("wrong", [np.zeros(3), rows(6)[::2], rows(4).reshape(2, 2)])
def test_other_arrays_are_refused(wrong: np.ndarray) -> None:
    with pytest.raises(TypeError, match="OHLCV"):
        _core.OhlcvText(compact=True).render(wrong)
