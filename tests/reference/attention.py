"""Causal attention and the paged KV pool, in the precision of the arguments."""

import numpy as np


def attention(q, k, v, positions, scale, window=0):
    """q: [n_rows, n_heads, head_dim]; k, v: [n_positions, n_kv_heads, head_dim]; row i sees 0 to positions[i],
    the last `window` of them where there is a window.

    Sums are plain chains, ascending: BLAS would split them and be a better yardstick than plain code is.
    """
    heads_per_kv = q.shape[1] // k.shape[1]
    out = np.zeros_like(q)
    for row, position in enumerate(positions):
        first = max(0, position + 1 - window) if window else 0
        for head in range(q.shape[1]):
            keys, values = (x[first : position + 1, head // heads_per_kv] for x in (k, v))
            scores = np.cumsum(keys * q[row, head], axis=1)[:, -1] * q.dtype.type(scale)
            weights = np.exp(scores - scores.max())
            out[row, head] = np.cumsum(weights[:, None] * values, axis=0)[-1] / np.cumsum(weights)[-1]
    return out


def page(pool, layer, k, v, table, block_size):
    """Write k and v, [n_positions, n_kv_heads, head_dim], to the blocks of `table`."""
    n_positions, n_kv_heads, head_dim = k.shape
    for position in range(n_positions):
        block, slot = table[position // block_size], position % block_size
        for head in range(n_kv_heads):
            pool[block, layer, 0, head].reshape(head_dim, block_size)[:, slot] = k[position, head]
            pool[block, layer, 1, head].reshape(block_size, head_dim)[slot] = v[position, head]


def empty_pool(n_blocks, n_layers, n_kv_heads, head_dim, block_size, fill=np.nan):
    """A pool full of garbage."""
    return np.full((n_blocks, n_layers, 2, n_kv_heads, head_dim * block_size), fill, np.float16)
