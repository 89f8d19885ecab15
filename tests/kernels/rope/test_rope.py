import numpy as np
import pytest

from kvtape.ops import rope
from tests.reference import rope as reference
from tests.reference.bits import assert_same_bits
from tests.reference.tolerance import assert_as_good_as_naive

N_CTX = 200
HEAD_DIMS = [2, 4, 14, 16, 18, 32, 34, 64, 80, 128, 256]


@pytest.mark.parametrize("style", ["pairs", "halves"])
@pytest.mark.parametrize("head_dim", HEAD_DIMS)
def test_matches_float64(isa, style, head_dim, rng):
    cos, sin = reference.tables(N_CTX, head_dim)
    x = rng.standard_normal((5, 3, head_dim), dtype=np.float32)
    positions = np.array([0, 199, 7, 7, 31], np.int32)
    found = rope(x, positions, cos, sin, style=style, isa=isa)
    exact, naive = (
        reference.rope(x.astype(t), cos[positions], sin[positions], style) for t in (np.float64, np.float32)
    )
    assert_as_good_as_naive(found, naive, exact)
    assert_same_bits(found, rope(x, positions, cos, sin, style=style, isa="ref"))


@pytest.mark.parametrize("style", ["pairs", "halves"])
def test_keeps_position_zero_and_signed_zeros(isa, style):
    cos, sin = reference.tables(1, 64)
    x = np.tile(np.array([0.0, -0.0, 1.0, -1.0], np.float32), 16).reshape(1, 1, 64)
    position = np.zeros(1, np.int32)
    found = rope(x, position, cos, sin, style=style, isa=isa)
    np.testing.assert_array_equal(found, x)
    assert_same_bits(found, rope(x, position, cos, sin, style=style, isa="ref"))


@pytest.mark.parametrize("style", ["pairs", "halves"])
def test_scores_depend_on_the_distance_only(isa, style, rng):
    cos, sin = reference.tables(N_CTX, 64)
    q, k = rng.standard_normal((2, 1, 1, 64), dtype=np.float32)

    def score(q_position, k_position):
        turned = (
            rope(x, np.array([p], np.int32), cos, sin, style=style, isa=isa)
            for x, p in ((q, q_position), (k, k_position))
        )
        return float(np.vdot(*(x.astype(np.float64) for x in turned)))

    np.testing.assert_allclose(score(100, 90), score(10, 0), atol=1e-4)
