"""Sequences whose middle is evicted: what is left sees exactly that, and holds no more memory than that."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kvtape import AsyncEngine, Engine
from kvtape.engine import Sequence
from kvtape.engine.core import KV_TYPES
from kvtape.errors import Conflict, InvalidRequest, SequenceLost
from kvtape.ops.sampling import log_softmax
from kvtape.types import WorkClass
from tests.reference.transformer import TransformerReference

ATOL = 0.03  # keys and values are f16: as in tests/model/test_forward_pass.py


class Expected:
    """What each token of a sequence sees, by float64."""

    def __init__(self, reference: TransformerReference) -> None:
        self.reference = reference
        self.rows: list[tuple[int, int]] = []  # the hole of each token but the last
        self.hole = (0, 0)

    def evict(self, n_tokens: int, begin: int, end: int) -> None:
        """All tokens but the last were computed with the hole as it was."""
        self.rows += [self.hole] * (n_tokens - 1 - len(self.rows))
        self.hole = (begin, end)

    def logprobs(self, ids: np.ndarray, n_last: int) -> list[float]:
        sees = np.ones((len(ids), len(ids)), bool)
        for row in range(len(ids)):
            begin, end = self.rows[row] if row < len(self.rows) else self.hole
            sees[row, begin:end] = False
        logits = self.reference.forward(ids, sees)[-1 - n_last : -1]
        return [log_softmax(row.astype(np.float32))[token] for row, token in zip(logits, ids[-n_last:], strict=True)]


def generated(sequence: Sequence, n: int) -> list[float | None]:
    return [event.logprob for event in sequence.generate(max_tokens=n, ignore_eos=True, logprobs=True)]


def in_use(engine: Engine) -> int:
    stats = engine.stats()
    return stats.kv_blocks_total - stats.kv_blocks_free - stats.kv_blocks_indexed


@pytest.mark.parametrize("architecture", ["llama", "gemma3"])  # the second with a window of its own in some layers
@pytest.mark.parametrize(
    "holes", [[(40, 70)], [(0, 1), (0, 33), (0, 200)], [(128, 256)], [(5, 140), (5, 141), (5, 250)]]
)
def test_matches_float64(
    make_tiny_model: Callable[..., Path], rng: np.random.Generator, architecture: str, holes: list[tuple[int, int]]
) -> None:
    path = make_tiny_model(architecture=architecture, weights="f32")
    expected = Expected(TransformerReference(path))
    with Engine(path, n_ctx=512) as engine:
        sequence = engine.open()
        sequence.append(rng.integers(3, 250, 260))
        for begin, end in holes:
            sequence.resident()
            sequence.evict(begin, end)
            assert sequence.hole == (begin, end)
            expected.evict(sequence.n_tokens, begin, end)
            found = generated(sequence, 4)
            np.testing.assert_allclose(found, expected.logprobs(sequence.token_ids(), 4), atol=ATOL)
            sequence.append(rng.integers(3, 250, 30))
        engine.core.native.check_integrity()


@pytest.mark.parametrize("kv_type", KV_TYPES)
def test_the_same_verbs_give_the_same_bits(
    make_tiny_model: Callable[..., Path], rng: np.random.Generator, isa: str, kv_type: str
) -> None:
    model = make_tiny_model()
    ids = rng.integers(3, 250, 400).astype(np.int32)

    def run(engine: Engine, piece: int) -> list[list[float | None]]:
        sequence = engine.open()
        found = []
        for begin in range(0, 400, 200):
            for i in range(begin, begin + 200, piece):
                sequence.append(ids[i : i + piece])
                sequence.resident()
            sequence.evict(37, begin + 150)
            questions = [sequence.fork() for _ in range(3)]  # in one batch, over what they share
            running = [q.generate(max_tokens=5, ignore_eos=True, logprobs=True, speculate=False) for q in questions]
            found += [[event.logprob for event in generation] for generation in running]
            found.append(generated(sequence.fork(), 5))
        return found

    with Engine(model, n_ctx=512, kv_type=kv_type, isa="ref", n_threads=1) as engine:
        wanted = run(engine, 200)
    with Engine(model, n_ctx=512, kv_type=kv_type, isa=isa, n_threads=2) as engine:
        assert run(engine, 50) == wanted
        assert run(engine, 8) == wanted
    assert wanted[0] == wanted[1] == wanted[3] != wanted[4]


def test_a_stream_through_a_window(make_tiny_model: Callable[..., Path], rng: np.random.Generator) -> None:
    """20,000 tokens: rows leave oldest first, and at the end of the positions what is left starts anew."""
    path = make_tiny_model(weights="f32", n_layers=1)
    reference = TransformerReference(path)
    n_ctx, n_prefix, n_window, n_row = 512, 21, 150, 10
    most = -(-(n_prefix + n_window + n_row) // 32) + 2  # and a block at each end that is not full
    with Engine(path, n_ctx=n_ctx, kv_memory=24 * 6144) as engine:  # 24 blocks
        prefix = rng.integers(3, 250, n_prefix)
        sequence, expected = engine.open(), Expected(reference)
        sequence.append(prefix)
        n_streamed = n_rebased = n_checked = 0
        while n_streamed < 20_000:
            if sequence.n_tokens + n_row + 8 > n_ctx:
                left = np.delete(sequence.token_ids(), slice(*sequence.hole))
                fresh = engine.open()
                fresh.append(left)
                fresh.resident()
                sequence.close()
                sequence, expected, n_rebased = fresh, Expected(reference), n_rebased + 1
            sequence.append(rng.integers(3, 250, n_row))
            sequence.resident()
            n_streamed += n_row
            begin, end = sequence.hole
            too_many = sequence.n_tokens - (end - begin) - n_prefix - n_window
            if too_many > 0:
                end = max(end, n_prefix) + too_many
                expected.evict(sequence.n_tokens, n_prefix, end)
                sequence.evict(n_prefix, end)
                assert in_use(engine) <= most
            if n_streamed % 1_500 == 0:
                question = sequence.fork()
                found = generated(question, 3)
                asked = Expected(reference)
                asked.rows, asked.hole = list(expected.rows), expected.hole
                np.testing.assert_allclose(found, asked.logprobs(question.token_ids(), 3), atol=ATOL)
                question.close()
                n_checked += 1
        assert n_rebased > 50
        assert n_checked == 13
        np.testing.assert_array_equal(sequence.token_ids()[:n_prefix], prefix)
        engine.core.native.check_integrity()
        sequence.close()
        stats = engine.stats()
        assert stats.kv_blocks_free + stats.kv_blocks_indexed == stats.kv_blocks_total
        assert stats.sequences_lost == 0


def test_what_is_lost_is_said(make_tiny_model: Callable[..., Path], rng: np.random.Generator) -> None:
    with Engine(make_tiny_model(), n_ctx=320, kv_memory=11 * 12288) as engine:  # 11 blocks: one context and one more
        sequence = engine.open()
        sequence.append(rng.integers(3, 250, 200))
        sequence.resident()
        sequence.evict(10, 60)
        rival = engine.open()
        rival.append(rng.integers(3, 250, 310))
        rival.resident()
        assert sequence.lost
        assert engine.stats().sequences_lost == 1
        for verb in (sequence.resident, sequence.fork, sequence.generate, lambda: sequence.append([5])):
            with pytest.raises(SequenceLost, match="append the tokens that it has left to a new sequence"):
                verb()
        left = np.delete(sequence.token_ids(), slice(*sequence.hole))
        sequence.close()
        fresh = engine.open()
        fresh.append(left)
        assert len(generated(fresh, 3)) == 3


def test_a_generation_that_is_lost_ends(make_tiny_model: Callable[..., Path], rng: np.random.Generator) -> None:
    with Engine(make_tiny_model(), n_ctx=320, kv_memory=11 * 12288) as engine:
        sequence = engine.open()
        sequence.append(rng.integers(3, 250, 100))
        sequence.resident()
        sequence.evict(10, 60)
        generation = sequence.generate(max_tokens=200, ignore_eos=True, work=WorkClass.BACKGROUND)
        rival = engine.open()
        rival.append(rng.integers(3, 250, 310))
        with pytest.raises(SequenceLost):
            for _ in generation:
                pass


async def test_async(make_tiny_model: Callable[..., Path], rng: np.random.Generator) -> None:
    async with AsyncEngine(make_tiny_model(), n_ctx=320) as engine:
        sequence = engine.open()
        sequence.append(rng.integers(3, 250, 100))
        with pytest.raises(InvalidRequest, match="the last token to stay"):
            sequence.evict(10, 100)
        await sequence.resident()
        sequence.evict(10, 50)
        generation = sequence.generate(max_tokens=200, ignore_eos=True)  # long enough to be at it
        with pytest.raises(Conflict, match="evict when it has ended"):
            sequence.evict(10, 60)
        events = [event async for event in generation]
        assert events[-1].usage is not None
        assert events[-1].usage.prompt_tokens == 60
        sequence.append([5, 6, 7])
        with pytest.raises(InvalidRequest, match="truncate cannot end inside"):
            sequence.truncate(50)
        sequence.truncate(10)
        assert sequence.hole == (0, 0)
        assert not sequence.lost
