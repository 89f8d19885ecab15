"""Causal attention over a paged KV pool.

A pool is a float16 array [n_blocks, n_layers, 2, n_kv_heads, head_dim * block_size]: for each layer of a block the K
tile of every KV head, [head_dim, block_size], and then the V tiles, [block_size, head_dim]. block_size is 32, 64 or
128.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kvtape._native import _core

__all__ = ["AttentionSpan", "attention", "write_kv"]

AttentionSpan = _core.AttentionSpan


def attention(
    q: NDArray[np.float32],
    pool: NDArray[np.float16],
    spans: Sequence[AttentionSpan],
    *,
    layer: int = 0,
    scale: float | None = None,
    window: int = 0,
    n_threads: int = 1,
    isa: str | None = None,
    out: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Attend rows of queries to the keys and values of their sequences, each row up to its own position.

    q and the result are [n_rows, n_heads, head_dim]; rows that no span names are left alone. scale is 1/sqrt(head_dim)
    where it is None. With a window a row sees the last `window` positions only, its own among them; 0: all. The result
    depends on the row and the KV it sees only: not on the batch, threads or block ids.

    Raises:
        InvalidRequest: a shape, block table, block id or layer does not fit.
    """
    out = np.zeros_like(q) if out is None else out
    scale = float(q.shape[-1]) ** -0.5 if scale is None else scale
    _core.attention(
        q,
        pool.view(np.uint16),
        spans,
        out,
        layer=layer,
        scale=scale,
        window=window,
        n_threads=n_threads,
        isa=isa or "",
    )
    return out


def write_kv(
    k: NDArray[np.float32],
    v: NDArray[np.float32],
    pool: NDArray[np.float16],
    spans: Sequence[AttentionSpan],
    *,
    layer: int = 0,
    isa: str | None = None,
) -> None:
    """Write the rows' keys and values, [n_rows, n_kv_heads, head_dim], to the slots of their positions, as float16.

    Raises:
        InvalidRequest: a shape, block table, block id or layer does not fit.
    """
    _core.write_kv(k, v, pool.view(np.uint16), spans, layer=layer, isa=isa or "")
