"""Random programs on a real model: every log-probability equals, bit for bit, that of the same tokens computed alone.

tests/native/engine/test_engine.cpp runs a thousand programs over the bookkeeping; these few go through the kernels.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kvtape import Engine
from kvtape.engine import Sequence
from kvtape.engine.core import KV_TYPES
from kvtape.errors import ContextOverflow
from kvtape.ops.sampling import log_softmax
from kvtape.types import WorkClass

N_CTX = 448
KV_BLOCKS = {"ample": 120, "scarce": 20, "least": 15}
LENGTHS = (1, 31, 32, 33, 64, 100, 150)  # on both sides of blocks and attention partitions


def scored(engine: Engine, ids: np.ndarray, n_last: int) -> list[float]:
    """Return the log-probabilities of the last tokens, computed from scratch."""
    logits = engine.model.forward_logits(ids[:-1], kv_type=engine.stats().kv_type)[-n_last:]
    return [log_softmax(row)[token] for row, token in zip(logits, ids[-n_last:], strict=True)]


def generate_on(engine: Engine, sequences: list[Sequence], rng: np.random.Generator) -> None:
    """Generate on several sequences at once and compare each with itself alone."""
    running = []
    for sequence in sequences:
        if 0 < sequence.n_tokens < N_CTX - 8 and rng.random() < 0.6:
            options = {"max_tokens": int(rng.integers(1, 6)), "temperature": float(rng.choice([0.0, 1.0])), "seed": 5}
            work = rng.choice(list(WorkClass))
            running.append((sequence, sequence.generate(work=work, ignore_eos=True, logprobs=True, **options)))
    for sequence, generation in running:
        found = [event.logprob for event in generation]
        assert found == scored(engine, sequence.token_ids(), len(found))


@pytest.mark.parametrize("pool", KV_BLOCKS)
@pytest.mark.parametrize("kv_type", KV_TYPES)
@pytest.mark.parametrize("architecture", ["llama", "gemma3"])  # the second with a window of 40 in one of two layers
def test_programs(
    make_tiny_model: Callable[..., Path], rng: np.random.Generator, pool: str, kv_type: str, architecture: str
) -> None:
    position_bytes = {"f16": 16 * 2, "q8_0": 16 + 2}[kv_type]  # head_dim 16: one scale
    block_bytes = 2 * 2 * 3 * 32 * position_bytes  # layers, K and V, heads, positions
    kv_memory = KV_BLOCKS[pool] * block_bytes
    model = make_tiny_model(architecture=architecture)
    with Engine(model, n_ctx=N_CTX, kv_memory=kv_memory, kv_type=kv_type, n_threads=2) as engine:
        assert engine.stats().kv_blocks_total == KV_BLOCKS[pool]
        for _ in range(30 if pool == "least" else 6):  # so many that one of them runs out
            sequences = [engine.open() for _ in range(4)]
            for _ in range(30):
                sequence = sequences[rng.integers(len(sequences))]
                match rng.choice(["append", "append", "fork", "truncate", "generate", "generate", "close"]):
                    case "append":
                        ids = np.repeat(rng.integers(3, 60), rng.choice(LENGTHS)).astype(np.int32)
                        ids[-1] = rng.integers(3, 99)
                        try:
                            sequence.append(ids, work=rng.choice(list(WorkClass)))
                        except ContextOverflow:
                            assert sequence.n_tokens + len(ids) > N_CTX
                    case "fork" if len(sequences) < 7:
                        sequences.append(sequence.fork())
                    case "truncate":
                        sequence.truncate(int(rng.integers(sequence.n_tokens + 1)))
                    case "close" if len(sequences) > 1:
                        sequences.remove(sequence)
                        sequence.close()
                    case "generate":
                        generate_on(engine, sequences, rng)
            for sequence in sequences:
                sequence.close()
            engine.core.native.check_integrity()
        stats = engine.stats()
        assert stats.kv_blocks_free + stats.kv_blocks_indexed == stats.kv_blocks_total
        if pool == "least":
            assert stats.preemptions + stats.sequences_dropped > 0
