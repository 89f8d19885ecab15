import numpy as np
import pytest

from kvtape.ops import gelu_mul
from tests.reference import activation as reference
from tests.reference.bits import assert_same_bits


def error(found, exact):
    return np.max(np.abs(found - exact) / np.maximum(np.abs(exact), 1e-3))  # relative, but for the tail below zero


@pytest.mark.parametrize("n", [1, 7, 8, 9, 63, 64, 65, 1536])
def test_matches_float64(isa, n, rng):
    gate = (rng.standard_normal(n) * 4).astype(np.float32)
    up = rng.standard_normal(n, dtype=np.float32)
    found = gelu_mul(gate, up, isa=isa)
    exact, naive = (reference.gelu_mul(gate.astype(t), up.astype(t)) for t in (np.float64, np.float32))
    assert error(found, exact) <= 2 * error(naive, exact) + 2.0**-22
    assert_same_bits(found, gelu_mul(gate, up, isa="ref"))


def test_sweep_of_the_whole_range(isa):
    gate = np.linspace(-12, 90, 100_003, dtype=np.float32)
    up = np.ones_like(gate)
    found = gelu_mul(gate, up, isa=isa)
    exact, naive = (reference.gelu_mul(gate.astype(t), up.astype(t)) for t in (np.float64, np.float32))
    assert error(found, exact) <= 2 * error(naive, exact)
    assert_same_bits(found, gelu_mul(gate, up, isa="ref"))


def test_the_tail_below_zero_keeps_its_digits(isa):
    gate = np.linspace(-4, -0.5, 10_001, dtype=np.float32)  # at -4 one plus tanh has 12 bits left
    found, exact = gelu_mul(gate, np.ones_like(gate), isa=isa), reference.gelu_mul(gate.astype(np.float64), 1.0)
    assert np.max(np.abs(found - exact) / np.abs(exact)) < 3e-6  # exp(t) of a rounded t, |t| up to 11


def test_limits(isa):
    gate = np.array([0.0, -0.0, 1e-40, -1e-40, 30.0, -30.0, 200.0, -200.0, 1e38, -1e38, np.inf], np.float32)
    up = np.full_like(gate, 2.0)
    found = gelu_mul(gate, up, isa=isa)
    wanted = np.array([0.0, -0.0, 1e-40, -1e-40, 60.0, -0.0, 400.0, -0.0, 2e38, -0.0, np.inf], np.float32)
    np.testing.assert_array_equal(found, wanted)
    assert_same_bits(found, gelu_mul(gate, up, isa="ref"))
    assert np.isnan(gelu_mul(np.full(9, np.nan, np.float32), np.ones(9, np.float32), isa=isa)).all()


@pytest.mark.parametrize("into", ["gate", "up"])
def test_in_place(isa, into, rng):
    arrays = dict(zip(("gate", "up"), rng.standard_normal((2, 77), dtype=np.float32), strict=True))
    expected = gelu_mul(**arrays, isa=isa)
    assert gelu_mul(**arrays, out=arrays[into], isa=isa) is arrays[into]
    assert_same_bits(arrays[into], expected)
