"""Block formats, int8 activations and matrix products in plain numpy."""

import numpy as np

BLOCK_BYTES = {"F32": 4, "F16": 2, "BF16": 2, "Q8_0": 34, "Q4_0": 18, "Q4_1": 20}
BLOCK_LEN = {"F32": 1, "F16": 1, "BF16": 1, "Q8_0": 32, "Q4_0": 32, "Q4_1": 32}
QUANTIZED = [name for name, length in BLOCK_LEN.items() if length > 1]
FLOATS = [name for name, length in BLOCK_LEN.items() if length == 1]


def dequantize(rows, dtype, shape, precision):
    """Read the bytes of a matrix as a model file holds it: [n_rows, n_cols] of `precision`."""
    if dtype == "F32":
        return rows.view(np.float32).reshape(shape).astype(precision)
    if dtype == "F16":
        return rows.view(np.float16).reshape(shape).astype(precision)
    if dtype == "BF16":
        return (rows.view(np.uint16).astype(np.uint32) << 16).view(np.float32).reshape(shape).astype(precision)
    blocks = rows.reshape(-1, BLOCK_BYTES[dtype])
    d = blocks[:, :2].view(np.float16).astype(precision)
    if dtype == "Q8_0":
        return (d * blocks[:, 2:].view(np.int8).astype(precision)).reshape(shape)
    nibbles = blocks[:, -16:]
    n = np.concatenate([nibbles & 15, nibbles >> 4], axis=1).astype(precision)
    if dtype == "Q4_0":
        return (d * (n - 8)).reshape(shape)
    return (d * n + blocks[:, 2:4].view(np.float16).astype(precision)).reshape(shape)


def quantize_rows(x):
    """q, d, s, sum of the contract csrc/kernels/linear/quantize_rows.h, one correctly rounded step after another."""
    blocks = x.reshape(*x.shape[:-1], -1, 32)
    amax = np.abs(blocks).max(axis=-1, keepdims=True)
    used = amax >= np.float32(2.0**-118)
    inverse = np.divide(np.float32(127), amax, out=np.zeros_like(amax), where=used)
    q = np.rint(blocks * inverse).astype(np.int8)
    d = np.where(used, amax / np.float32(127), np.float32(0))[..., 0]
    total = q.sum(axis=-1, dtype=np.int32)
    return q.reshape(x.shape), d, d * total.astype(np.float32), total


def matmul(w, x):
    """w: [n_rows, n_cols]; x: [n_tokens, n_cols], of one precision. Sums are plain chains, a row of x at a time."""
    return np.stack([np.cumsum(w * row, axis=1)[:, -1] for row in x])
