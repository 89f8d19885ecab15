"""Causal attention and the paged KV pool, in the precision of the arguments."""

import numpy as np


def attention(q, k, v, positions, scale, window=0, hole=(0, 0)):
    """q: [n_rows, n_heads, head_dim]; k, v: [n_positions, n_kv_heads, head_dim]; row i sees 0 to positions[i],
    the last `window` of them where there is a window, and of these none from hole[0] up to hole[1].

    Sums are plain chains, ascending: BLAS would split them and be a better yardstick than plain code is.
    """
    heads_per_kv = q.shape[1] // k.shape[1]
    out = np.zeros_like(q)
    for row, position in enumerate(positions):
        first = max(0, position + 1 - window) if window else 0
        seen = [j for j in range(first, position + 1) if not hole[0] <= j < hole[1]]
        for head in range(q.shape[1]):
            keys, values = (x[seen, head // heads_per_kv] for x in (k, v))
            scores = np.cumsum(keys * q[row, head], axis=1)[:, -1] * q.dtype.type(scale)
            weights = np.exp(scores - scores.max())
            out[row, head] = np.cumsum(weights[:, None] * values, axis=0)[-1] / np.cumsum(weights)[-1]
    return out


def quantize(x):
    """x: [..., dim] float32 to (q: [..., dim] int8, scales: [..., ceil(dim / 32)] float16), as q8_0."""
    dim = x.shape[-1]
    padded = np.pad(x.astype(np.float32), [(0, 0)] * (x.ndim - 1) + [(0, -dim % 32)])
    blocks = padded.reshape(*x.shape[:-1], -1, 32)
    amax = np.abs(blocks).max(axis=-1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        d = np.where(amax < 2**-118, np.float32(0), amax / np.float32(127))
        q = np.where(d > 0, np.rint(blocks * (np.float32(127) / amax)), np.float32(0))
        finite = np.isfinite(amax)
        d, q = np.where(finite, d, np.float32(np.nan)), np.where(finite, q, np.float32(0))
        return q.astype(np.int8).reshape(*x.shape[:-1], -1)[..., :dim], d[..., 0].astype(np.float16)


def stored(x, kv_type):
    """What the cache gives back of x: [..., head_dim], exact in float32."""
    if kv_type == "f16":
        return x.astype(np.float16).astype(np.float32)
    q, scales = quantize(x)
    return q * np.repeat(scales.astype(np.float32), 32, axis=-1)[..., : x.shape[-1]]


def page(pool, layer, k, v, table, block_size):
    """Write k and v, [n_positions, n_kv_heads, head_dim], to the blocks of `table`."""
    n_positions, n_kv_heads, head_dim = k.shape
    if pool.dtype == np.uint8:
        elements, scales = pool[..., : head_dim * block_size].view(np.int8), pool[..., head_dim * block_size :]
        (k, k_scales), (v, v_scales) = quantize(k), quantize(v)
    else:
        elements = pool
    for position in range(n_positions):
        block, slot = table[position // block_size], position % block_size
        for head in range(n_kv_heads):
            elements[block, layer, 0, head].reshape(head_dim, block_size)[:, slot] = k[position, head]
            elements[block, layer, 1, head].reshape(block_size, head_dim)[slot] = v[position, head]
            if pool.dtype == np.uint8:
                for i, of_position in enumerate((k_scales, v_scales)):
                    tile = scales[block, layer, i, head].view(np.float16).reshape(-1, block_size)
                    tile[:, slot] = of_position[position, head]


def empty_pool(n_blocks, n_layers, n_kv_heads, head_dim, block_size, fill=np.nan, kv_type="f16"):
    """A pool full of garbage: `fill`, where it is read as a float."""
    n_scales = 0 if kv_type == "f16" else -(-head_dim // 32)
    tile_bytes = block_size * (2 * head_dim if kv_type == "f16" else head_dim + 2 * n_scales)
    pool = np.full((n_blocks, n_layers, 2, n_kv_heads, tile_bytes // 2), fill, np.float16)
    return pool if kv_type == "f16" else pool.view(np.uint8)
