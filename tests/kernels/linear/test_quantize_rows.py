import numpy as np
import pytest

from kvtape.ops import quantize_rows
from tests.reference import linear as reference
from tests.reference.bits import assert_same_bits

NAMES = ["q", "d", "s", "sum", "half"]


def check(x, isa):
    """Every step is one correctly rounded operation, so that numpy has the same bits."""
    found = quantize_rows(x, isa=isa)
    for name, wanted in zip(NAMES, reference.quantize_rows(x), strict=True):
        assert_same_bits(getattr(found, name), wanted)
    return found


@pytest.mark.parametrize("dim", [32, 64, 96, 224, 576, 1536, 2080])
@pytest.mark.parametrize("n_rows", [1, 2, 5])
def test_equals_numpy(isa, n_rows, dim, rng):
    check(rng.standard_normal((n_rows, dim), dtype=np.float32), isa)


@pytest.mark.parametrize("scale", [1e-45, 1e-38, 2.0**-119, 2.0**-118, 1e-30, 1e-10, 1e10, 1e30, 3e38])
def test_hard_scales(isa, scale, rng):
    x = rng.uniform(-1, 1, (3, 96)).astype(np.float32)
    x[:, ::32] = [[1], [-1], [1]]
    with np.errstate(over="ignore", under="ignore"):
        check(x * np.float32(scale), isa)


def test_zero_blocks(isa, rng):
    x = rng.standard_normal((2, 96), dtype=np.float32)
    x[0, 32:64] = 0
    x[1, 64:] = -0.0
    found = check(x, isa)
    assert found.d[0, 1] == 0
    assert not found.q[0, 32:64].any()


def test_error_is_half_a_step(isa, rng):
    x = rng.standard_normal((64, 576), dtype=np.float32)
    found = quantize_rows(x, isa=isa)
    step = np.repeat(found.d.astype(np.float64), 32, axis=1)
    assert (np.abs(x - step * found.q) <= step * (0.5 + 1e-5)).all()
    assert np.abs(found.q).max() == 127


def test_halves_go_to_even(isa):
    x = np.zeros((1, 32), np.float32)
    x[0, :7] = [127, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5]
    found = check(x, isa)
    assert found.q[0, :7].tolist() == [127, 0, 2, 2, 0, -2, -2]


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, -np.nan])
def test_what_is_not_finite_spreads_as_nan(isa, value, rng):
    x = rng.standard_normal((1, 96), dtype=np.float32)
    x[0, 40] = value
    found = quantize_rows(x, isa=isa)
    assert np.isnan(found.d).tolist() == [[False, True, False]]
    assert np.isnan(found.s).tolist() == [[False, True, False]]
    assert found.sum[0, 1] == 0
    assert found.half[0, 2:4].tolist() == [0, 0]
    assert not found.q[0, 32:64].any()
    for name, wanted in zip(NAMES, quantize_rows(x, isa="ref"), strict=True):
        assert_same_bits(getattr(found, name), wanted)
