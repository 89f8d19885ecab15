import numpy as np
import pytest

from kvtape.errors import InvalidRequest
from kvtape.ops import rope
from tests.reference import rope as reference
from tests.reference.bits import assert_same_bits

COS, SIN = reference.tables(16, 8)


def positions(*values):
    return np.array(values, np.int32)


@pytest.mark.parametrize("n_rows", [0, 1, 16, 17, 50])
def test_bits_do_not_depend_on_threads(n_rows, rng):
    x, at = rng.standard_normal((n_rows, 3, 8), dtype=np.float32), rng.integers(0, 16, n_rows, np.int32)
    assert_same_bits(rope(x, at, COS, SIN, style="pairs", n_threads=2), rope(x, at, COS, SIN, style="pairs"))


def test_leaves_its_argument_alone(rng):
    x = rng.standard_normal((1, 1, 8), dtype=np.float32)
    before = x.copy()
    assert not np.array_equal(rope(x, positions(3), COS, SIN, style="halves"), before)
    assert_same_bits(x, before)


@pytest.mark.parametrize("position", [-1, 16, 2**31 - 1])
def test_refuses_positions_outside_the_tables(position):
    x = np.ones((2, 1, 8), np.float32)
    with pytest.raises(InvalidRequest, match=rf"positions\[1\]: {position}, wanted 0 to 16 exclusive"):
        rope(x, positions(0, position), COS, SIN, style="pairs")


def test_refuses_what_does_not_fit():
    x = np.ones((2, 1, 8), np.float32)
    with pytest.raises(InvalidRequest, match=r"positions: shape \[1\], wanted \[2\]"):
        rope(x, positions(0), COS, SIN, style="pairs")
    with pytest.raises(InvalidRequest, match=r"cos: shape \[16, 3\], wanted \[n, 4\]"):
        rope(x, positions(0, 1), COS[:, :3].copy(), SIN, style="pairs")
    with pytest.raises(InvalidRequest, match="head_dim: 9, wanted an even number"):
        rope(np.ones((2, 1, 9), np.float32), positions(0, 1), COS, SIN, style="pairs")
    with pytest.raises(InvalidRequest, match="style: 'neox', wanted pairs or halves"):
        rope(x, positions(0, 1), COS, SIN, style="neox")
