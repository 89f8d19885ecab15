"""Drafts change how fast tokens come, and nothing else: every event equals the one without them, bit for bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kvtape import AsyncEngine, Engine
from kvtape.engine import Sequence
from kvtape.engine.core import KV_TYPES
from kvtape.types import ReasoningSpan, TokenEvent, WorkClass

N_CTX = 320
ARCHITECTURES = ("llama", "gemma3")  # the second with a window of 40 in one of two layers


def random_prompt(rng: np.random.Generator) -> np.ndarray:
    """Tokens that repeat themselves: runs, cycles, copied passages, and some that do not."""
    parts: list[np.ndarray] = [rng.integers(3, 99, rng.integers(1, 12))]
    for _ in range(rng.integers(5)):
        match rng.choice(["run", "cycle", "copy", "noise"]):
            case "run":
                parts.append(np.repeat(rng.integers(3, 99), rng.integers(2, 20)))
            case "cycle":
                parts.append(np.tile(rng.integers(3, 99, rng.integers(2, 9)), rng.integers(2, 5)))
            case "copy":
                parts.append(np.concatenate(parts)[-30:])
            case "noise":
                parts.append(rng.integers(3, 99, rng.integers(1, 20)))
    return np.concatenate(parts).astype(np.int32)


def random_options(engine: Engine, rng: np.random.Generator) -> dict[str, Any]:
    """Sampling parameters of every kind."""
    options: dict[str, Any] = {"max_tokens": int(rng.integers(1, 60)), "ignore_eos": bool(rng.random() < 0.7)}
    if rng.random() < 0.5:
        options |= {"temperature": float(rng.choice([0.05, 0.3, 1.0])), "seed": int(rng.integers(1 << 40))}
        options |= {"top_k": int(rng.choice([0, 1, 5])), "top_p": float(rng.choice([1.0, 0.8]))}
        options |= {"min_p": float(rng.choice([0.0, 0.1])), "choice": int(rng.integers(3))}
    if rng.random() < 0.4:
        options |= {
            "repeat_penalty": float(rng.choice([1.0, 1.05, 0.9])),
            "repeat_last_n": int(rng.choice([0, 1, 7, 64])),
        }
        options |= {"frequency_penalty": float(rng.choice([0.0, -0.3, 0.1])), "presence_penalty": 0.05}
    if rng.random() < 0.3:
        options["logit_bias"] = {int(rng.integers(3, 99)): float(rng.choice([3.0, -np.inf])) for _ in range(3)}
    if rng.random() < 0.4:
        options |= {"logprobs": True, "top_logprobs": int(rng.choice([0, 3]))}
    if rng.random() < 0.4:
        options["stop"] = (*map(chr, rng.integers(97, 123, 2)), " the", "aa")
    if rng.random() < 0.3:
        budget = None if rng.random() < 0.3 else int(rng.integers(20))
        close_ids = tuple(engine.model.tokenizer.encode("so b"))
        options["reasoning"] = ReasoningSpan(open="a", close="b", opened=True, budget=budget, close_ids=close_ids)
    return options


def started(engine: Engine, ids: np.ndarray, options: dict[str, Any], **more: Any) -> tuple[Sequence, Any]:
    sequence = engine.open()
    sequence.append(ids)
    return sequence, sequence.generate(**options, **more)


def run(
    engine: Engine, ids: np.ndarray, options: dict[str, Any], **more: Any
) -> tuple[list[TokenEvent], list[int], int]:
    """Return the events, and what the sequence holds in the end: its tokens, and how many of them have KV."""
    sequence, generation = started(engine, ids, options, **more)
    events = list(generation)
    held = sequence.token_ids().tolist(), sequence.n_cached
    sequence.close()
    return events, *held


@pytest.fixture(scope="module", params=[(a, kv) for a in ARCHITECTURES for kv in KV_TYPES], ids="-".join)
def engine(request: pytest.FixtureRequest, make_tiny_model: Callable[..., Path]) -> Iterator[Engine]:
    architecture, kv_type = request.param
    model = make_tiny_model(architecture=architecture)
    with Engine(model, n_ctx=N_CTX, kv_memory="8M", kv_type=kv_type, n_threads=2) as engine:
        yield engine
        engine.core.native.check_integrity()


def test_any_prompt_and_parameters(engine: Engine, rng: np.random.Generator) -> None:
    before = engine.stats()
    for _ in range(120):
        ids, options = random_prompt(rng), random_options(engine, rng)
        run(engine, ids, options, speculate=False)  # now both find the same in the prefix index
        assert run(engine, ids, options, speculate=True) == run(engine, ids, options, speculate=False)
    engine.core.native.check_integrity()
    after = engine.stats()
    assert after.drafted_tokens > before.drafted_tokens
    assert after.accepted_tokens > before.accepted_tokens


def test_every_length(engine: Engine) -> None:
    ids = np.tile(np.arange(5, 12, dtype=np.int32), 6)
    whole, _, _ = run(engine, ids, {"max_tokens": 80, "ignore_eos": True}, speculate=False)
    for n in range(1, 81):
        events, tokens, n_cached = run(engine, ids, {"max_tokens": n, "ignore_eos": True}, speculate=True)
        assert [event.token_id for event in events] == [event.token_id for event in whole[:n]]
        assert events[-1].finish_reason == "length"
        assert events[-1].usage is not None
        assert events[-1].usage.completion_tokens == n
        assert len(tokens) == len(ids) + n == n_cached + 1


def test_the_end_of_the_context(engine: Engine) -> None:
    for n_left in range(1, 40):
        ids = np.tile(np.arange(5, 12, dtype=np.int32), N_CTX)[: N_CTX - n_left]
        run(engine, ids, {"ignore_eos": True}, speculate=False)
        events, tokens, n_cached = run(engine, ids, {"ignore_eos": True}, speculate=True)
        assert (events, tokens, n_cached) == run(engine, ids, {"ignore_eos": True}, speculate=False)
        assert (len(events), len(tokens)) == (n_left, N_CTX)


def test_a_stop_at_every_character(engine: Engine) -> None:
    ids = np.tile(np.arange(70, 78, dtype=np.int32), 5)
    text = "".join(event.text for event in run(engine, ids, {"max_tokens": 40, "ignore_eos": True})[0])
    for at in range(len(text)):
        for n in (1, 4):
            options = {"max_tokens": 40, "ignore_eos": True, "stop": (text[at : at + n],)}
            run(engine, ids, options, speculate=False)
            assert run(engine, ids, options, speculate=True) == run(engine, ids, options, speculate=False)


def test_batches_and_forks(engine: Engine, rng: np.random.Generator) -> None:
    for _ in range(12):
        base = engine.open()
        base.append(np.tile(random_prompt(rng), 2)[:100])
        jobs = []
        for _ in range(6):
            sequence = base.fork()
            sequence.append(random_prompt(rng)[:40])
            options = random_options(engine, rng)
            alone, _, _ = run(engine, sequence.token_ids(), options, speculate=False)
            work = rng.choice(list(WorkClass))
            jobs.append((alone, sequence, sequence.generate(**options, work=work, speculate=rng.random() < 0.8)))
        for alone, _, generation in jobs:
            assert without_cached(list(generation)) == without_cached(alone)
        for _, sequence, _ in jobs:  # and they go on from what they hold
            ids, options = sequence.token_ids(), random_options(engine, rng)
            wanted, _, _ = run(engine, ids, options, speculate=False)
            assert without_cached(list(sequence.generate(**options))) == without_cached(wanted)
    engine.core.native.check_integrity()


def without_cached(events: list[TokenEvent]) -> list[tuple[Any, ...]]:
    """What does not depend on whose blocks are still there."""
    return [
        (
            e.token_id,
            e.text,
            e.logprob,
            e.top_logprobs,
            e.logit_gap,
            e.finish_reason,
            e.usage and e.usage.completion_tokens,
        )
        for e in events
    ]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_scarce_blocks(make_tiny_model: Callable[..., Path], rng: np.random.Generator, architecture: str) -> None:
    block_bytes = 2 * 2 * 3 * 32 * 16 * 2  # layers, K and V, heads, positions, head_dim, f16
    model = make_tiny_model(architecture=architecture)
    with (
        Engine(model, n_ctx=N_CTX, kv_memory=15 * block_bytes, n_threads=2) as small,
        Engine(model, n_ctx=N_CTX, kv_memory="8M", n_threads=2) as ample,
    ):
        for _ in range(25):
            jobs = []
            for _ in range(5):
                ids, options = np.tile(random_prompt(rng), 4)[:250], random_options(ample, rng)
                work = rng.choice(list(WorkClass))
                jobs.append((ids, options, started(small, ids, options, work=work, speculate=True)))
            left = jobs.pop()[2]
            next(left[1])
            left[1].close()
            left[0].close()
            for ids, options, (sequence, generation) in jobs:
                wanted, tokens, _ = run(ample, ids, options, speculate=False)
                assert without_cached(list(generation)) == without_cached(wanted)
                assert sequence.token_ids().tolist() == tokens
                sequence.close()
            small.core.native.check_integrity()
        stats = small.stats()
        assert stats.preemptions + stats.sequences_dropped > 0
        assert stats.accepted_tokens > 0
        assert stats.kv_blocks_free + stats.kv_blocks_indexed == stats.kv_blocks_total


def test_on_but_for_choices(engine: Engine) -> None:
    ids = np.tile(np.arange(5, 12, dtype=np.int32), 6)

    def n_drafted(**options: Any) -> int:
        before = engine.stats().drafted_tokens
        run(engine, ids, {"max_tokens": 40, "ignore_eos": True} | options)
        return engine.stats().drafted_tokens - before

    def drafts_at_times(**options: Any) -> bool:  # whether a draft pays is measured, and a busy machine measures badly
        return any(n_drafted(**options) > 0 for _ in range(100))

    assert drafts_at_times()
    assert n_drafted(speculate=False) == 0
    assert drafts_at_times(temperature=0.2, seed=1, top_k=1)
    assert n_drafted(allowed_tokens=(5, 6)) == 0


async def test_async_too(engine: Engine) -> None:
    ids = np.tile(np.arange(5, 12, dtype=np.int32), 6)
    sequence = AsyncEngine.wrap(engine).open()
    sequence.append(ids)
    events = [event async for event in sequence.generate(max_tokens=40, ignore_eos=True)]
    assert without_cached(events) == without_cached(
        run(engine, ids, {"max_tokens": 40, "ignore_eos": True}, speculate=False)[0]
    )
