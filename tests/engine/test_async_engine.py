"""The engine on an event loop: same verbs, same bits, and nobody waits for anybody else."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from kvtape import AsyncEngine, Engine
from kvtape.errors import EngineFailed
from kvtape.types import WorkClass

PROMPT = "the quick brown fox"


@pytest.fixture(scope="module")
def blocking(tiny_model: Path) -> Iterator[Engine]:
    with Engine(tiny_model, kv_memory="8M") as engine:
        yield engine
        engine.core.native.check_integrity()


async def test_same_tokens_as_blocking(blocking: Engine) -> None:
    sequence = blocking.open()
    sequence.append(PROMPT)
    wanted = list(sequence.generate(max_tokens=10, ignore_eos=True, logprobs=True))
    asynchronous = AsyncEngine.wrap(blocking)
    twin = asynchronous.open()
    twin.append(PROMPT)
    found = [event async for event in twin.generate(max_tokens=10, ignore_eos=True, logprobs=True)]
    assert [(e.token_id, e.text, e.logprob) for e in found] == [(e.token_id, e.text, e.logprob) for e in wanted]


async def test_many_at_once(blocking: Engine) -> None:
    engine = AsyncEngine.wrap(blocking)
    base = engine.open()
    base.append(PROMPT * 20)
    await base.resident()

    async def ask(i: int) -> list[int]:
        fork = base.fork()
        fork.append(f" question {i}", work=WorkClass.FLASH)
        return [e.token_id async for e in fork.generate(max_tokens=8, ignore_eos=True, work=WorkClass.FLASH)]

    alone = [await ask(i) for i in range(6)]
    assert await asyncio.gather(*(ask(i) for i in range(6))) == alone


async def test_what_is_submitted_together_runs_together(blocking: Engine) -> None:
    engine = AsyncEngine.wrap(blocking)
    base = engine.open()
    base.append(PROMPT * 20)
    await base.resident()
    n_steps = engine.stats().steps
    with engine.together():
        forks = [base.fork() for _ in range(20)]
        for i, fork in enumerate(forks):
            fork.append(f" question {i}")
        generations = [fork.generate(max_tokens=3, ignore_eos=True, speculate=False) for fork in forks]
    for generation in generations:
        assert len([event async for event in generation]) == 3
    assert engine.stats().steps == n_steps + 3
    with pytest.raises(ValueError, match="inside"), blocking.together():
        raise ValueError("inside")
    assert [event async for event in base.generate(max_tokens=1)]


async def test_leaving_the_loop_cancels(blocking: Engine) -> None:
    engine = AsyncEngine.wrap(blocking)
    sequence = engine.open()
    sequence.append(PROMPT)
    async for _ in sequence.generate(ignore_eos=True):
        break
    assert engine.stats().running == 0


async def test_cancelling_the_task_cancels(blocking: Engine) -> None:
    engine = AsyncEngine.wrap(blocking)
    sequence = engine.open()
    sequence.append(PROMPT)
    started = asyncio.Event()

    async def consume() -> None:
        async for _ in sequence.generate(ignore_eos=True):
            started.set()

    task = asyncio.create_task(consume())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    del task
    assert engine.stats().running == 0


async def test_closing_a_sequence_frees_who_waits_for_it(blocking: Engine) -> None:
    engine = AsyncEngine.wrap(blocking)
    sequence = engine.open()
    sequence.append([7] * (engine.n_ctx - 1), work=WorkClass.BACKGROUND)
    waiter = asyncio.create_task(sequence.resident())
    await asyncio.sleep(0)
    sequence.close()
    outcome = await asyncio.gather(waiter, return_exceptions=True)
    assert len(outcome) == 1  # it had become resident, or was told that the sequence is gone; it does not hang


async def test_shutdown_ends_what_runs(tiny_model: Path) -> None:
    async with AsyncEngine(tiny_model, kv_memory="8M") as engine:
        sequence = engine.open()
        sequence.append(PROMPT)
        generation = sequence.generate(ignore_eos=True)
        await anext(generation)

    async def read() -> None:
        async for _ in generation:
            pass

    with contextlib.suppress(EngineFailed):  # it may have come to its end first
        await asyncio.wait_for(read(), 30)
