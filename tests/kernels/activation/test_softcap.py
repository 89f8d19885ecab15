import numpy as np
import pytest

from kvtape.ops import softcap
from tests.reference import activation as reference
from tests.reference.bits import assert_same_bits


def relative_error(found, exact):
    some = exact != 0
    return np.max(np.abs(found[some] - exact[some]) / np.abs(exact[some]), initial=0.0)


@pytest.mark.parametrize("n", [1, 7, 8, 9, 63, 64, 65, 1536])
@pytest.mark.parametrize("cap", [1.0, 5.0, 30.0])
def test_matches_float64(isa, n, cap, rng):
    x = (rng.standard_normal(n) * 20).astype(np.float32)
    found = softcap(x, cap, isa=isa)
    exact, naive = (reference.softcap(x.astype(t), cap) for t in (np.float64, np.float32))
    assert relative_error(found, exact) <= 2 * relative_error(naive, exact) + 2.0**-23
    assert_same_bits(found, softcap(x, cap, isa="ref"))


def test_sweep(isa):
    x = np.linspace(-400, 400, 100_003, dtype=np.float32)
    found = softcap(x, 30.0, isa=isa)
    exact, naive = (reference.softcap(x.astype(t), 30.0) for t in (np.float64, np.float32))
    assert relative_error(found, exact) <= 2 * relative_error(naive, exact)
    assert (np.diff(found) >= 0).all()  # no order of logits is turned
    assert_same_bits(found, softcap(x, 30.0, isa="ref"))


def test_limits(isa):
    x = np.array([0.0, -0.0, 1e-40, np.inf, -np.inf, 1e38, -1e38, 0.625, -0.625, 7.0, np.nan], np.float32)
    found = softcap(x, 1.0, isa=isa)
    np.testing.assert_array_equal(found[[0, 1, 2, 3, 4, 5, 6]], np.array([0, 0, 1e-40, 1, -1, 1, -1], np.float32))
    assert np.isnan(found[-1])
    assert np.signbit(found[1])
    assert_same_bits(found[:-1], softcap(x, 1.0, isa="ref")[:-1])
