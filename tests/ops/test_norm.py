import numpy as np
import pytest

from kvtape.errors import InvalidRequest
from kvtape.ops import rms_norm
from tests.reference.bits import assert_same_bits

X, WEIGHT = np.ones((2, 8), np.float32), np.ones(8, np.float32)


@pytest.mark.parametrize("n_rows", [0, 1, 15, 16, 17, 100])
def test_bits_do_not_depend_on_threads(n_rows, rng):
    x, weight = rng.standard_normal((n_rows, 64), dtype=np.float32), rng.standard_normal(64, dtype=np.float32)
    assert_same_bits(rms_norm(x, weight, eps=1e-5, n_threads=2), rms_norm(x, weight, eps=1e-5))


def test_refuses_what_does_not_fit():
    with pytest.raises(InvalidRequest, match=r"x: shape \[2, 8\], wanted \[n, 7\]"):
        rms_norm(X, WEIGHT[:7], eps=1e-5)
    with pytest.raises(InvalidRequest, match=r"out: shape \[1, 8\], wanted \[2, 8\]"):
        rms_norm(X, WEIGHT, eps=1e-5, out=X[:1].copy())
    with pytest.raises(InvalidRequest, match="n_threads: 0, wanted 1 to"):
        rms_norm(X, WEIGHT, eps=1e-5, n_threads=0)
    with pytest.raises(InvalidRequest, match="wanted rows of weight's length, 0"):
        rms_norm(X[:, :0].copy(), WEIGHT[:0], eps=1e-5)
