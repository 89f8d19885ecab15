"""Products of activations and packed weights."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kvtape._native import _core
from kvtape.ops.packing import PackedWeights

__all__ = ["QuantizedRows", "matmul", "quantize_rows"]


class QuantizedRows(NamedTuple):
    """Activations in int8, by blocks of 32 columns."""

    q: NDArray[np.int8]  # [n_rows, dim], from -127 to 127
    d: NDArray[np.float32]  # [n_rows, dim / 32]: x is about d * q
    s: NDArray[np.float32]  # [n_rows, dim / 32]: d * sum
    sum: NDArray[np.int32]  # [n_rows, dim / 32]: the sum of the block's q
    half: NDArray[np.int16]  # [n_rows, dim / 16]: the sum of each 16 q


def quantize_rows(x: NDArray[np.float32], *, isa: str | None = None) -> QuantizedRows:
    """Quantise rows to int8. x: [n_rows, dim], dim a multiple of 32.

    Raises:
        InvalidRequest: another shape.
        TypeError: not float32 in C order.
    """
    blocks = (*x.shape[:-1], x.shape[-1] // 32)
    rows = QuantizedRows(
        np.empty(x.shape, np.int8),
        np.empty(blocks, np.float32),
        np.empty(blocks, np.float32),
        np.empty(blocks, np.int32),
        np.empty((*x.shape[:-1], x.shape[-1] // 32 * 2), np.int16),
    )
    _core.quantize_rows(x, *rows, isa=isa or "")
    return rows


def matmul(
    w: PackedWeights,
    x: NDArray[np.float32],
    *,
    out: NDArray[np.float32] | None = None,
    isa: str | None = None,
    n_threads: int = 1,
) -> NDArray[np.float32]:
    """Return x times the transpose of w; a quantised w meets x quantised to int8.

    x: [n_tokens, n_cols]; out: [n_tokens, n_rows].

    Raises:
        InvalidRequest: a shape does not fit.
        TypeError: an array is not float32 in C order.
    """
    if out is None:
        out = np.empty((x.shape[0], w.shape[0]), np.float32)
    _core.matmul(w, x, out, isa=isa or "", n_threads=n_threads)
    return out
