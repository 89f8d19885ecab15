"""Elementwise activations."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kvtape._native import _core

__all__ = ["silu_mul"]


def silu_mul(
    gate: NDArray[np.float32],
    up: NDArray[np.float32],
    *,
    out: NDArray[np.float32] | None = None,
    isa: str | None = None,
    n_threads: int = 1,
) -> NDArray[np.float32]:
    """Return gate / (1 + exp(-gate)) * up, for arrays of one shape; `out` may be either of them.

    Raises:
        InvalidRequest: the sizes differ.
        TypeError: an array is not float32 in C order.
    """
    if out is None:
        out = np.empty_like(gate)
    _core.silu_mul(gate, up, out, isa=isa or "", n_threads=n_threads)
    return out
