"""kvtape's attention over f16 or q8_0 blocks in random order; shared positions are stored once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from bench.kernels_attention.task import BLOCK_SIZE, HEAD_DIM, N_KV_HEADS, SCALE, Task
from kvtape.ops.attention import AttentionSpan, attention, write_kv
from tests.reference.attention import empty_pool


def prepare(task: Task, *, isa: str, kv_type: str, n_threads: int) -> Callable[[], NDArray[np.float32]]:
    """Fill a pool; the result attends every layer once."""
    n_shared_blocks = task.n_shared // BLOCK_SIZE
    n_own_blocks = -(-(task.n_shared + task.n_rows) // BLOCK_SIZE) - n_shared_blocks
    n_blocks = n_shared_blocks + task.n_sequences * n_own_blocks
    ids = np.random.default_rng(1).permutation(n_blocks).astype(np.int32)
    pool = empty_pool(n_blocks, task.n_layers, N_KV_HEADS, HEAD_DIM, BLOCK_SIZE, 0.0, kv_type)
    shared, own = ids[:n_shared_blocks], ids[n_shared_blocks:].reshape(task.n_sequences, n_own_blocks)
    spans = []
    for sequence in range(task.n_sequences):
        table = np.concatenate([shared, own[sequence]])
        first = sequence * task.n_rows
        span = {"first_row": first, "n_rows": task.n_rows, "first_position": task.n_shared, "blocks": table}
        spans.append(AttentionSpan(**span, shared_len=n_shared_blocks * BLOCK_SIZE))
        prompt = AttentionSpan(first_row=0, n_rows=task.n_shared + task.n_rows, first_position=0, blocks=table)
        for layer in range(task.n_layers):
            k, v = (
                np.concatenate([x[layer, : task.n_shared], x[layer, task.own(sequence)]]).astype(np.float32)
                for x in (task.k, task.v)
            )
            write_kv(k, v, pool, [prompt], layer=layer)
    out = np.empty_like(task.q)

    def run() -> NDArray[np.float32]:
        for layer in range(task.n_layers):
            attention(task.q, pool, spans, layer=layer, scale=SCALE, n_threads=n_threads, isa=isa, out=out)
        return out

    return run
