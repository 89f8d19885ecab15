"""Q4_K, Q5_K and Q6_K blocks in plain numpy: taken apart, put together, and made from floats.

The gguf package reads these types but does not write them. `quantize` is the plainest way to fill a block (extremes
of a sub-block, no search); it serves to make models and matrices, not to make good ones.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

NAMES = ["Q4_K", "Q5_K", "Q6_K"]


class Blocks(NamedTuple):
    """Blocks of 256 elements, one a row; w = d * sc * n - dmin * m, in Q6_K d * sc * (n - 32)."""

    d: np.ndarray  # [n_blocks, 1] float32
    dmin: np.ndarray | None  # [n_blocks, 1] float32; Q6_K has none
    sc: np.ndarray  # [n_blocks, 8] from 0 to 63, or [n_blocks, 16] int8 in Q6_K
    m: np.ndarray | None  # [n_blocks, 8] from 0 to 63
    n: np.ndarray  # [n_blocks, 256] int


def _f16(blocks: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(blocks).view(np.float16).astype(np.float32)


def unpack(blocks: np.ndarray, dtype: str) -> Blocks:
    """Take blocks apart. blocks: [n_blocks, block_bytes] uint8."""
    count = len(blocks)
    if dtype == "Q6_K":
        low, high = blocks[:, :128].reshape(count, 2, 64), blocks[:, 128:192].reshape(count, 2, 32)
        n = np.stack([low & 15, low >> 4], axis=2).reshape(count, 2, 4, 32).astype(int)
        n |= np.stack([high >> shift & 3 for shift in (0, 2, 4, 6)], axis=2).astype(int) << 4
        sc = np.ascontiguousarray(blocks[:, 192:208]).view(np.int8)
        return Blocks(_f16(blocks[:, 208:]), None, sc, None, n.reshape(count, 256))
    a, b, c = blocks[:, 4:8], blocks[:, 8:12], blocks[:, 12:16]
    sc = np.concatenate([a & 63, (c & 15) | a >> 6 << 4], axis=1)
    m = np.concatenate([b & 63, c >> 4 | b >> 6 << 4], axis=1)
    low = blocks[:, -128:].reshape(count, 4, 32)
    n = np.stack([low & 15, low >> 4], axis=2).reshape(count, 8, 32).astype(int)
    if dtype == "Q5_K":
        n |= np.stack([blocks[:, 16:48] >> s & 1 for s in range(8)], axis=1).astype(int) << 4
    return Blocks(_f16(blocks[:, :2]), _f16(blocks[:, 2:4]), sc, m, n.reshape(count, 256))


def pack(parts: Blocks, dtype: str) -> np.ndarray:
    """Put blocks together, the way back from `unpack`: [n_blocks, block_bytes] uint8."""
    count = len(parts.n)
    n = parts.n.astype(np.uint8)
    d = parts.d.astype(np.float16).view(np.uint8)
    if dtype == "Q6_K":
        quarters = n.reshape(count, 2, 4, 32)
        low = (quarters[:, :, :2] & 15) | quarters[:, :, 2:] << 4
        high = np.bitwise_or.reduce([quarters[:, :, t] >> 4 << 2 * t for t in range(4)])
        sc = parts.sc.astype(np.int8).view(np.uint8)
        return np.concatenate([low.reshape(count, 128), high.reshape(count, 64), sc, d], axis=1)
    sc, m = parts.sc.astype(np.uint8), parts.m.astype(np.uint8)
    scales = [sc[:, :4] | sc[:, 4:] >> 4 << 6, m[:, :4] | m[:, 4:] >> 4 << 6, (sc[:, 4:] & 15) | m[:, 4:] << 4]
    eighths = n.reshape(count, 4, 2, 32)
    low = (eighths[:, :, 0] & 15) | eighths[:, :, 1] << 4
    high = np.bitwise_or.reduce([n.reshape(count, 8, 32)[:, s] >> 4 << s for s in range(8)])
    dmin = parts.dmin.astype(np.float16).view(np.uint8)
    return np.concatenate([d, dmin, *scales, *([high] if dtype == "Q5_K" else []), low.reshape(count, 128)], axis=1)


def _divide(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.divide(a, b, out=np.zeros(np.broadcast_shapes(a.shape, b.shape), np.float32), where=b != 0)


def quantize(w: np.ndarray, dtype: str) -> np.ndarray:
    """Return the blocks of w, [n_rows, n_cols] float32 with n_cols a multiple of 256: [n_rows, row_bytes] uint8."""
    sub_len = 16 if dtype == "Q6_K" else 32
    x = w.reshape(-1, 256 // sub_len, sub_len)
    if dtype == "Q6_K":
        peak = np.take_along_axis(x, np.abs(x).argmax(axis=2, keepdims=True), axis=2)[..., 0]
        wanted = peak / np.float32(-32)  # the largest magnitude becomes n = 0
        d = (np.abs(wanted).max(axis=1, keepdims=True) / np.float32(127)).astype(np.float16).astype(np.float32)
        sc = np.rint(_divide(wanted, d)).clip(-128, 127)
        n = np.rint(_divide(x, (d * sc)[..., None])).clip(-32, 31) + 32
        return pack(Blocks(d, None, sc, None, n.reshape(-1, 256).astype(int)), dtype).reshape(len(w), -1)
    top = np.float32(15 if dtype == "Q4_K" else 31)
    lowest = np.minimum(x.min(axis=2), 0)
    wanted = (x.max(axis=2) - lowest) / top
    d, dmin = (
        (values.max(axis=1, keepdims=True) / np.float32(63)).astype(np.float16).astype(np.float32)
        for values in (wanted, -lowest)
    )
    sc, m = np.rint(_divide(wanted, d)).clip(0, 63), np.rint(_divide(-lowest, dmin)).clip(0, 63)
    n = np.rint(_divide(x + (dmin * m)[..., None], (d * sc)[..., None])).clip(0, top)
    return pack(Blocks(d, dmin, sc, m, n.reshape(-1, 256).astype(int)), dtype).reshape(len(w), -1)
