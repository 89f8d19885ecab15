import numpy as np
import pytest

from kvtape.errors import InvalidRequest
from kvtape.ops import matmul, pack, quantize_rows


@pytest.fixture
def w():
    return pack(np.zeros(5 * 2 * 20, np.uint8), dtype="Q4_1", n_rows=5, n_cols=64)


def test_no_tokens(w):
    assert matmul(w, np.empty((0, 64), np.float32), n_threads=2).shape == (0, 5)


def test_writes_only_its_rows(w):
    memory = np.full(2 * 5 + 2, 7, np.float32)
    matmul(w, np.ones((2, 64), np.float32), out=memory[1:11].reshape(2, 5))
    assert memory.tolist() == [7, *[0] * 10, 7]


def test_refuses_what_does_not_fit(w):
    x = np.ones((2, 64), np.float32)
    with pytest.raises(InvalidRequest, match=r"x: shape \[2, 32\], wanted \[n, 64\]"):
        matmul(w, x[:, :32].copy())
    with pytest.raises(InvalidRequest, match=r"out: shape \[2, 4\], wanted \[2, 5\]"):
        matmul(w, x, out=np.empty((2, 4), np.float32))
    with pytest.raises(InvalidRequest, match="x: 33 columns, wanted a multiple of 32"):
        quantize_rows(np.ones((1, 33), np.float32))
