"""Choices on the real engine over a tiny random model."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from kvtape.chat.choices import Choices, merge, most_probable
from kvtape.chat.conversation import Turn, open_prompts
from kvtape.engine import AsyncEngine
from kvtape.types import SamplingParams, TokenEvent

PROMPTS = [[5, 6, 7, 8] * 20, [9, 10, 11]]
PARAMS = SamplingParams(max_tokens=6, temperature=1.5, seed=3, ignore_eos=True)


@pytest.fixture
def engine(tiny_engine):
    return AsyncEngine.wrap(tiny_engine)


def ids(events):
    return [event.token_id for event in events]


async def run(engine, prompts, params=PARAMS, n=1):
    choices = Choices(await open_prompts(engine, prompts, params), Turn.events, n=n)
    try:
        return [ids(events) for events in await choices.collect()], choices.usage
    finally:
        choices.close()


async def until(condition):
    for _ in range(2000):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("not so within 10 s")


async def test_choices_differ_and_the_first_is_the_one_that_runs_alone(engine):
    together, _ = await run(engine, PROMPTS[:1], n=4)
    alone, _ = await run(engine, PROMPTS[:1])
    assert together[0] == alone[0]
    assert len({tuple(choice) for choice in together}) == 4


async def test_prompts_together_answer_as_one_by_one(engine):
    together, usage = await run(engine, PROMPTS, n=3)
    one_by_one = [await run(engine, [prompt], n=3) for prompt in PROMPTS]
    assert together == [choice for choices, _ in one_by_one for choice in choices]
    assert usage.prompt_tokens == sum(len(prompt) for prompt in PROMPTS)
    assert usage.completion_tokens == 6 * PARAMS.max_tokens
    assert usage.cached_tokens <= usage.prompt_tokens


async def test_the_prompt_is_computed_once(engine):
    prompt = [list(range(100, 200)) * 4]
    before = engine.stats().computed_tokens
    _, usage = await run(engine, prompt, n=8)
    assert usage.prompt_tokens == 400
    assert usage.cached_tokens == 0
    # the prompt, its last token once more a fork, and each generated token but the last of each choice
    assert engine.stats().computed_tokens - before <= 400 + 7 + 8 * PARAMS.max_tokens
    _, again = await run(engine, prompt, n=8)
    assert again.cached_tokens >= 352


@pytest.mark.parametrize("n", [1, 3])
async def test_leaving_cancels_all(engine, n):
    choices = Choices(await open_prompts(engine, PROMPTS, SamplingParams(ignore_eos=True)), Turn.events, n=n)
    async with aclosing(choices.items()) as events:
        async for _ in events:
            break
    choices.close()
    await until(lambda: engine.stats().running == 0)


async def test_a_cancelled_reader_cancels_all(engine):
    n_before = engine.stats().n_sequences
    choices = Choices(await open_prompts(engine, PROMPTS, SamplingParams(ignore_eos=True)), Turn.events, n=3)
    task = asyncio.create_task(choices.collect())
    await until(lambda: engine.stats().running == 6)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    choices.close()
    await until(lambda: engine.stats().running == 0)
    assert engine.stats().n_sequences == n_before


@pytest.mark.parametrize("n_turns_of_the_loop", [1, 2, 4, 8])
async def test_a_reader_that_goes_while_the_prompt_is_computed_leaves_nothing(engine, n_turns_of_the_loop):
    n_before = engine.stats().n_sequences
    prompt = [(7 * i + n_turns_of_the_loop) % 200 + 5 for i in range(1900)]
    choices = Choices(await open_prompts(engine, [prompt], SamplingParams(ignore_eos=True)), Turn.events, n=3)
    task = asyncio.create_task(choices.collect())
    for _ in range(n_turns_of_the_loop):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    choices.close()
    assert engine.stats().n_sequences == n_before
    assert engine.stats().running == 0


async def counting(n, closed):
    try:
        for i in range(n):
            await asyncio.sleep(0)
            yield i
    finally:
        closed.append(n)


async def test_merging_keeps_the_order_of_each_stream():
    closed = []
    merged = [item async for item in merge([counting(n, closed) for n in (3, 0, 5)])]
    for index, n in enumerate((3, 0, 5)):
        assert [item for which, item in merged if which == index] == list(range(n))
    assert sorted(closed) == [0, 3, 5]


@pytest.mark.parametrize("n_streams", [1, 3])
async def test_merging_closes_all_when_it_is_left(n_streams):
    closed = []
    async with aclosing(merge([counting(100, closed) for _ in range(n_streams)])) as merged:
        async for _ in merged:
            break
    assert len(closed) == n_streams


async def test_merging_closes_all_when_one_fails():
    closed = []

    async def failing():
        yield 1
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        async for _ in merge([counting(100, closed), failing(), counting(100, closed)]):
            pass
    assert closed == [100, 100]


def test_the_most_probable_go_by_the_mean():
    def choice(*logprobs):
        return [TokenEvent(1, "", logprob=logprob) for logprob in logprobs]

    candidates = [choice(-3.0), choice(-1.0, -1.0, -1.0), choice(-2.0), choice(-1.0)]
    assert most_probable(candidates, 3) == [candidates[1], candidates[3], candidates[2]]
