import numpy as np
import pytest

from kvtape.errors import InvalidRequest
from kvtape.ops import gelu_mul, silu_mul, softcap
from tests.reference.bits import assert_same_bits


@pytest.mark.parametrize("n", [0, 1, 8191, 8192, 8193, 40000])
def test_bits_do_not_depend_on_threads(n, rng):
    gate, up = rng.standard_normal((2, n), dtype=np.float32)
    for gated in (silu_mul, gelu_mul):
        assert_same_bits(gated(gate, up, n_threads=2), gated(gate, up))
    assert_same_bits(softcap(gate, 30.0, n_threads=2), softcap(gate, 30.0))


def test_refuses_what_does_not_fit():
    gate = np.ones((2, 4), np.float32)
    with pytest.raises(InvalidRequest, match="up: 6 elements, wanted those of gate, 8"):
        silu_mul(gate, np.ones((2, 3), np.float32))
    with pytest.raises(InvalidRequest, match="y: 6 elements, wanted those of gate, 8"):
        silu_mul(gate, gate, out=np.ones((2, 3), np.float32))
    with pytest.raises(InvalidRequest, match="up: 6 elements, wanted those of gate, 8"):
        gelu_mul(gate, np.ones((2, 3), np.float32))
    with pytest.raises(InvalidRequest, match=r"cap: 0\.0.*, wanted more than 0"):
        softcap(gate, 0.0)
