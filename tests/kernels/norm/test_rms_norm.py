import numpy as np
import pytest

from kvtape.ops import rms_norm
from tests.reference import norm as reference
from tests.reference.bits import assert_same_bits
from tests.reference.tolerance import assert_as_good_as_naive

DIMS = [1, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 576, 1000, 4096]  # each side of every vector width


def check(x, weight, eps, isa):
    found = rms_norm(x, weight, eps=eps, isa=isa)
    exact, naive = (reference.rms_norm(x.astype(t), weight, eps) for t in (np.float64, np.float32))
    assert_as_good_as_naive(found, naive, exact)
    assert_same_bits(found, rms_norm(x, weight, eps=eps, isa="ref"))


@pytest.mark.parametrize("dim", DIMS)
def test_matches_float64(isa, dim, rng):
    x, weight = rng.standard_normal((3, dim), dtype=np.float32), rng.standard_normal(dim, dtype=np.float32)
    check(x, weight, 1e-5, isa)


@pytest.mark.parametrize("scale", [1e-30, 1e-10, 1e10, 1e16])
def test_hard_scales(isa, scale, rng):
    x = rng.standard_normal((4, 576), dtype=np.float32) * np.float32(scale)
    x[1, 5:] = 0
    x[2] = 0
    check(x, np.ones(576, np.float32), 1e-6, isa)


def test_an_outlier_among_small_values(isa, rng):
    x = rng.standard_normal((2, 577), dtype=np.float32)
    x[:, 576] = 1e6
    check(x, rng.standard_normal(577, dtype=np.float32), 1e-5, isa)


def test_unaligned_rows_and_in_place(isa, rng):
    memory = rng.standard_normal(1 + 3 * 65 + 65, dtype=np.float32)
    x, weight = memory[1:196].reshape(3, 65), memory[196:]
    expected = rms_norm(x.copy(), weight.copy(), eps=1e-5, isa=isa)
    assert rms_norm(x, weight, eps=1e-5, out=x, isa=isa) is x
    assert_same_bits(x, expected)
