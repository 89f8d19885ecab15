"""Normalisation of rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kvtape._native import _core

__all__ = ["rms_norm"]


def rms_norm(
    x: NDArray[np.float32],
    weight: NDArray[np.float32],
    *,
    eps: float,
    out: NDArray[np.float32] | None = None,
    isa: str | None = None,
    n_threads: int = 1,
) -> NDArray[np.float32]:
    """Divide each row by its root mean square and multiply by `weight`.

    x, out: [n_rows, dim], `out` may be `x`; weight: [dim].

    Raises:
        InvalidRequest: a shape does not fit.
        TypeError: an array is not float32 in C order.
    """
    if out is None:
        out = np.empty_like(x)
    _core.rms_norm(x, weight, out, eps=eps, isa=isa or "", n_threads=n_threads)
    return out
