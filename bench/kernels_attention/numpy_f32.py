"""numpy over float32 K and V laid side by side for its BLAS: twice the bytes of f16, and no block table to follow."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from bench.kernels_attention.task import HEAD_DIM, N_HEADS, N_KV_HEADS, SCALE, Task


def prepare(task: Task) -> Callable[[], NDArray[np.float32]]:
    """Lay out K and V by head; the result attends every layer once. All rows meet shared K in one product."""
    k, v = (np.ascontiguousarray(x.astype(np.float32).transpose(0, 2, 1, 3)) for x in (task.k, task.v))
    n_all, n_keys = len(task.q), task.k.shape[1]
    key = np.arange(n_keys)[None] - task.n_shared
    row = np.arange(n_all)[:, None]
    hidden = (key > row) | (key // task.n_rows != row // task.n_rows)  # later, or another sequence's own
    hidden[:, : task.n_shared] = False
    heads_per_kv = N_HEADS // N_KV_HEADS
    hidden = np.repeat(hidden, heads_per_kv, axis=0)
    q = task.q.reshape(n_all, N_KV_HEADS, heads_per_kv, HEAD_DIM).transpose(1, 0, 2, 3)
    q = np.ascontiguousarray(q.reshape(N_KV_HEADS, n_all * heads_per_kv, HEAD_DIM)) * np.float32(SCALE)

    def run() -> NDArray[np.float32]:
        for layer in range(task.n_layers):
            scores = q @ k[layer].transpose(0, 2, 1)
            scores[:, hidden] = -np.inf
            scores -= scores.max(axis=-1, keepdims=True)
            np.exp(scores, out=scores)
            out = (scores @ v[layer]) / scores.sum(axis=-1, keepdims=True)
        out = out.reshape(N_KV_HEADS, n_all, heads_per_kv, HEAD_DIM).transpose(1, 0, 2, 3)
        return out.reshape(n_all, N_HEADS, HEAD_DIM)

    return run
