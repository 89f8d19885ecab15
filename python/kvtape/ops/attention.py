"""Causal attention over a paged KV pool.

A pool holds for each layer of a block the K tile of every KV head, [head_dim, block_size], and then the V tiles,
[block_size, head_dim]. block_size is 32, 64 or 128. It is a numpy array, whose dtype says how K and V are stored:

- f16: float16 [n_blocks, n_layers, 2, n_kv_heads, head_dim * block_size];
- q8_0: uint8 [n_blocks, n_layers, 2, n_kv_heads, (head_dim + 2 * n_scales) * block_size], n_scales being
  ceil(head_dim / 32): int8 as above, and behind them the float16 scales, [n_scales, block_size].
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kvtape._native import _core
from kvtape.errors import InvalidRequest

__all__ = ["AttentionSpan", "attention", "write_kv"]

AttentionSpan = _core.AttentionSpan


def attention(
    q: NDArray[np.float32],
    pool: NDArray[np.float16] | NDArray[np.uint8],
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
        pool.view(np.uint8),
        spans,
        out,
        kv_type=_kv_type(pool),
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
    pool: NDArray[np.float16] | NDArray[np.uint8],
    spans: Sequence[AttentionSpan],
    *,
    layer: int = 0,
    n_threads: int = 1,
    isa: str | None = None,
) -> None:
    """Write the rows' keys and values, [n_rows, n_kv_heads, head_dim], to the slots of their positions.

    Raises:
        InvalidRequest: a shape, block table, block id or layer does not fit.
    """
    _core.write_kv(
        k,
        v,
        pool.view(np.uint8),
        spans,
        kv_type=_kv_type(pool),
        layer=layer,
        n_threads=n_threads,
        isa=isa or "",
    )


def _kv_type(pool: NDArray[np.float16] | NDArray[np.uint8]) -> str:
    if pool.dtype not in (np.float16, np.uint8):
        raise InvalidRequest(f"pool: dtype {pool.dtype}, wanted float16 or uint8 (q8_0)")
    return "f16" if pool.dtype == np.float16 else "q8_0"
