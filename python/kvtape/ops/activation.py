"""Elementwise activations."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kvtape._native import _core

__all__ = ["gelu_mul", "silu_mul", "softcap"]


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


def gelu_mul(
    gate: NDArray[np.float32],
    up: NDArray[np.float32],
    *,
    out: NDArray[np.float32] | None = None,
    isa: str | None = None,
    n_threads: int = 1,
) -> NDArray[np.float32]:
    """Return gelu(gate) * up with GELU in its tanh form, for arrays of one shape; `out` may be either of them.

    Raises:
        InvalidRequest: the sizes differ.
        TypeError: an array is not float32 in C order.
    """
    if out is None:
        out = np.empty_like(gate)
    _core.gelu_mul(gate, up, out, isa=isa or "", n_threads=n_threads)
    return out


def softcap(x: NDArray[np.float32], cap: float, *, isa: str | None = None, n_threads: int = 1) -> NDArray[np.float32]:
    """Return tanh(x / cap) * cap.

    Raises:
        InvalidRequest: `cap` is not positive.
        TypeError: x is not float32 in C order.
    """
    capped = x.copy()
    _core.softcap(capped, cap=cap, isa=isa or "", n_threads=n_threads)
    return capped
