"""Weight matrices in the layout of the matmul kernels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kvtape._native import _core

__all__ = ["PackedWeights", "dequantize_row", "pack"]

PackedWeights = _core.PackedWeights


def pack(rows: NDArray[np.uint8], *, dtype: str, n_rows: int, n_cols: int, n_threads: int = 1) -> PackedWeights:
    """Pack a matrix as a model file holds it.

    dtype is F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, Q5_K or Q6_K.

    rows: [n_bytes], the n_rows rows of n_cols elements one after another.

    Raises:
        InvalidRequest: an unknown dtype, or the size of `rows` is not that of the matrix.
    """
    return _core.pack(rows, dtype=dtype, n_rows=n_rows, n_cols=n_cols, n_threads=n_threads)


def dequantize_row(w: PackedWeights, row: int) -> NDArray[np.float32]:
    """Return row `row` of the matrix as float32: [n_cols].

    Raises:
        InvalidRequest: there is no such row.
    """
    out = np.empty(w.shape[1], np.float32)
    w.dequantize_row(row, out)
    return out
