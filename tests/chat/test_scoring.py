"""Log-probabilities of a prompt, against the logits of a forward pass."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from kvtape.chat.scoring import score
from kvtape.engine import AsyncEngine
from kvtape.types import SamplingParams


@pytest.fixture
def engine(tiny_engine):
    return AsyncEngine.wrap(tiny_engine)


@pytest.mark.parametrize("n_tokens", [1, 2, 33, 34, 100])
async def test_scores_are_those_of_the_forward_pass(engine, rng, n_tokens):
    ids = rng.integers(5, 250, n_tokens).astype(np.int32)
    sequence = engine.open()
    sequence.append(ids)
    events = await score(sequence, top_logprobs=2)
    assert [event.token_id for event in events] == ids.tolist()
    assert events[0].logprob is None
    logits = engine.model.forward_logits(ids).astype(np.float64)
    exact = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    for position, event in enumerate(events[1:]):
        assert event.logprob == pytest.approx(exact[position, event.token_id], abs=1e-5)
        assert [top.token_id for top in event.top_logprobs] == np.argsort(-logits[position], kind="stable")[:2].tolist()
    sequence.close()


async def test_scores_have_the_bits_of_the_generation(engine):
    sequence = engine.open()
    sequence.append([5, 6, 7])
    generated = [
        event async for event in sequence.generate(SamplingParams(max_tokens=40, logprobs=True, ignore_eos=True))
    ]
    events = await score(sequence)
    assert [event.logprob for event in events[3:]] == [event.logprob for event in generated]
    assert engine.stats().running == 0
    sequence.close()


async def test_a_cancelled_score_leaves_nothing_behind(engine):
    n_before = engine.stats().n_sequences
    sequence = engine.open()
    sequence.append(list(range(5, 250)) * 6)
    task = asyncio.create_task(score(sequence))
    while engine.stats().n_sequences <= n_before + 1:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert engine.stats().n_sequences == n_before + 1
    sequence.close()
