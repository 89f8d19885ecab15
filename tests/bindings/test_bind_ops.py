"""Arrays cross without a copy, or not at all."""

import numpy as np
import pytest

from kvtape import ops
from kvtape._native import _core

X, WEIGHT = np.ones((2, 8), np.float32), np.ones(8, np.float32)


@pytest.mark.parametrize(
    ("x", "weight"),
    [
        (X.astype(np.float64), WEIGHT),
        (X, WEIGHT.astype(np.float16)),
        (np.asfortranarray(X), WEIGHT),
        (np.ones((2, 16), np.float32)[:, ::2], WEIGHT),
        (X.tolist(), WEIGHT),
    ],
)
def test_another_dtype_or_order_is_a_type_error(x, weight):
    with pytest.raises(TypeError, match="incompatible function arguments"):
        _core.rms_norm(x, weight, X.copy(), eps=1e-5, isa="", n_threads=1)


def test_a_read_only_result_is_refused():
    out = np.zeros_like(X)
    out.flags.writeable = False
    with pytest.raises(ValueError, match="not writeable"):
        ops.rms_norm(X, WEIGHT, eps=1e-5, out=out)
    assert not out.any()


def test_results_land_in_the_callers_memory():
    memory = np.zeros((4, 8), np.float32)
    assert ops.silu_mul(X, X, out=memory[1:3]).base is memory
    assert memory.any(axis=1).tolist() == [False, True, True, False]
