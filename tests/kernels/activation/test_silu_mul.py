import numpy as np
import pytest

from kvtape.ops import silu_mul
from tests.reference import activation as reference
from tests.reference.bits import assert_same_bits


def relative_error(found, exact):
    some = exact != 0
    return np.max(np.abs(found[some] - exact[some]) / np.abs(exact[some]), initial=0.0)


@pytest.mark.parametrize("n", [1, 7, 8, 9, 63, 64, 65, 1536])
def test_matches_float64(isa, n, rng):
    gate = (rng.standard_normal(n) * 8).astype(np.float32)
    up = rng.standard_normal(n, dtype=np.float32)
    found = silu_mul(gate, up, isa=isa)
    exact, naive = (reference.silu_mul(gate.astype(t), up.astype(t)) for t in (np.float64, np.float32))
    assert relative_error(found, exact) <= 2 * relative_error(naive, exact) + 2.0**-23  # element by element
    assert_same_bits(found, silu_mul(gate, up, isa="ref"))


def test_sweep_of_the_whole_range(isa):
    gate = np.linspace(-86, 90, 100_003, dtype=np.float32)
    up = np.ones_like(gate)
    found = silu_mul(gate, up, isa=isa)
    exact, naive = (reference.silu_mul(gate.astype(t), up.astype(t)) for t in (np.float64, np.float32))
    assert relative_error(found, exact) <= 2 * relative_error(naive, exact)
    assert_same_bits(found, silu_mul(gate, up, isa="ref"))


def test_limits(isa):
    gate = np.array([0.0, -0.0, 1e-40, -1e-40, 88.5, -88.5, 200.0, -200.0, 1e38, -1e38, np.inf], np.float32)
    up = np.full_like(gate, 2.0)
    found = silu_mul(gate, up, isa=isa)
    wanted = np.array([0.0, -0.0, 1e-40, -1e-40, 177.0, -0.0, 400.0, -0.0, 2e38, -0.0, np.inf], np.float32)
    np.testing.assert_array_equal(found, wanted)
    assert_same_bits(found, silu_mul(gate, up, isa="ref"))
    assert np.isnan(silu_mul(np.full(9, np.nan, np.float32), np.ones(9, np.float32), isa=isa)).all()


@pytest.mark.parametrize("into", ["gate", "up"])
def test_in_place(isa, into, rng):
    arrays = dict(zip(("gate", "up"), rng.standard_normal((2, 77), dtype=np.float32), strict=True))
    expected = silu_mul(**arrays, isa=isa)
    assert silu_mul(**arrays, out=arrays[into], isa=isa) is arrays[into]
    assert_same_bits(arrays[into], expected)
