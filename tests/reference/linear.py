"""Block formats, int8 activations and matrix products in plain numpy."""

from typing import NamedTuple

import numpy as np

from tests.reference import k_quants

BLOCK_BYTES = {
    "F32": 4, "F16": 2, "BF16": 2, "Q8_0": 34, "Q4_0": 18, "Q4_1": 20, "Q5_0": 22, "Q5_1": 24,
    "Q4_K": 144, "Q5_K": 176, "Q6_K": 210,
}  # fmt: skip
FLOATS = ["F32", "F16", "BF16"]
QUANTIZED = [name for name in BLOCK_BYTES if name not in FLOATS]
BLOCK_LEN = {name: 1 if name in FLOATS else 256 if name in k_quants.NAMES else 32 for name in BLOCK_BYTES}


class Fields(NamedTuple):
    """What a quantised block says: w = d * sub * n + minimum, one row a block."""

    d: np.ndarray  # [n_blocks, 1] float32, read from f16
    sub: np.ndarray  # [n_blocks, block_len] int: the sub-scale, 1 where the format has none
    n: np.ndarray  # [n_blocks, block_len] int: the zero point subtracted
    minimum: np.ndarray | None  # [n_blocks, block_len] float32, exact


def fields(rows, dtype):
    """Take the blocks of a matrix apart."""
    blocks = rows.reshape(-1, BLOCK_BYTES[dtype])
    if dtype in k_quants.NAMES:
        k = k_quants.unpack(blocks, dtype)
        minimum = None if k.m is None else -(k.dmin * k.m.astype(np.float32)).repeat(32, axis=1)
        return Fields(
            k.d, k.sc.repeat(256 // k.sc.shape[1], axis=1).astype(int), k.n - (32 if k.m is None else 0), minimum
        )
    d = blocks[:, :2].view(np.float16).astype(np.float32)
    if dtype == "Q8_0":
        n = blocks[:, 2:].view(np.int8).astype(int)
        return Fields(d, np.ones_like(n), n, None)
    nibbles = blocks[:, -16:]
    n = np.concatenate([nibbles & 15, nibbles >> 4], axis=1).astype(int)
    if dtype.startswith("Q5"):
        n |= np.unpackbits(blocks[:, -20:-16], axis=1, bitorder="little").astype(int) << 4
    if dtype.endswith("_0"):
        return Fields(d, np.ones_like(n), n - (16 if dtype == "Q5_0" else 8), None)
    return Fields(d, np.ones_like(n), n, blocks[:, 2:4].view(np.float16).astype(np.float32).repeat(32, axis=1))


def dequantize(rows, dtype, shape, precision):
    """Read the bytes of a matrix as a model file holds it: [n_rows, n_cols] of `precision`."""
    if dtype == "F32":
        return rows.view(np.float32).reshape(shape).astype(precision)
    if dtype == "F16":
        return rows.view(np.float16).reshape(shape).astype(precision)
    if dtype == "BF16":
        return (rows.view(np.uint16).astype(np.uint32) << 16).view(np.float32).reshape(shape).astype(precision)
    d, sub, n, minimum = fields(rows, dtype)
    w = d.astype(precision) * sub.astype(precision) * n.astype(precision)
    return (w if minimum is None else w + minimum.astype(precision)).reshape(shape)


def quantize_rows(x):
    """q, d, s, sum, half of the contract csrc/kernels/linear/quantize_rows.h, each step correctly rounded."""
    blocks = x.reshape(*x.shape[:-1], -1, 32)
    amax = np.abs(blocks).max(axis=-1, keepdims=True)
    used = amax >= np.float32(2.0**-118)
    inverse = np.divide(np.float32(127), amax, out=np.zeros_like(amax), where=used)
    q = np.rint(blocks * inverse).astype(np.int8)
    d = np.where(used, amax / np.float32(127), np.float32(0))[..., 0]
    total = q.sum(axis=-1, dtype=np.int32)
    half = q.reshape(*x.shape[:-1], -1, 16).sum(axis=-1, dtype=np.int16)
    return q.reshape(x.shape), d, d * total.astype(np.float32), total, half


def matmul(w, x):
    """w: [n_rows, n_cols]; x: [n_tokens, n_cols], of one precision. Sums are plain chains, a row of x at a time."""
    return np.stack([np.cumsum(w * row, axis=1)[:, -1] for row in x])
