"""Conversations in a session, on the real engine over a tiny random model and over one that recites."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from kvtape.chat.conversation import open_chat
from kvtape.engine import AsyncEngine
from kvtape.errors import Conflict, ContextOverflow, InvalidRequest
from kvtape.session import session as session_module
from kvtape.session.events import DataUpdated, FlashReady
from kvtape.session.manager import SessionManager
from kvtape.session.spec import TEXT, FlashSpec, SessionSpec
from kvtape.session.turns import WarmFinish
from kvtape.types import ChatPrompt, ReplyFinish, SamplingParams, Tool, ToolChoice, ToolMode, gather
from tests.scripted import cut, scripted_engine
from tests.serving import CANDLES
from tests.session.replay import assert_replayable

GREEDY = SamplingParams(max_tokens=12, ignore_eos=True, logprobs=True, top_logprobs=2)
DRAWN = SamplingParams(max_tokens=16, temperature=1.0, seed=7, logprobs=True, top_logprobs=2)
SYSTEM = {"role": "system", "content": "be brief"}
LONG = SamplingParams(max_tokens=400, ignore_eos=True)


def user(text):
    return {"role": "user", "content": text}


@pytest.fixture
async def manager(tiny_engine):
    made = SessionManager(AsyncEngine.wrap(tiny_engine))
    yield made
    await made.aclose()


async def read(turn):
    """Run a turn to its end; what a client sees of it, to be compared, and the message that it resends."""
    try:
        steps = [step async for step in turn.steps()]
    finally:
        turn.close()
    events = [event for step in steps for event in step.events]
    tokens = [(s.token.token_id, s.token.text, s.token.logprob, s.token.top_logprobs) for s in steps]
    reply = gather(events)
    calls = [
        {"id": f"call_{n}", "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for n, call in enumerate(reply.tool_calls)
    ]
    message = {"role": "assistant", "content": reply.content, **({"tool_calls": calls} if calls else {})}
    return tokens, steps[-1], message


async def say(session, messages, params=GREEDY, **fields):
    return await read(await session.chat(ChatPrompt(messages=list(messages), **fields), params))


async def settle(session):
    await session.context.caught_up()
    while session.flash.task is not None:
        await session.flash.task


def text_of(session):
    return session._framing.model.tokenizer.decode(session.token_ids().tolist(), special=True)


# -- the same as without a session ---------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", [SessionSpec("be brief"), SessionSpec(), SessionSpec(wire=2, type=TEXT)])
@pytest.mark.parametrize("params", [GREEDY, DRAWN])
async def test_turns_are_those_of_the_same_conversation_without_a_session(manager, spec, params, rng):
    session = await manager.create(spec)
    messages = [SYSTEM] if spec.prompt else []
    for n in range(6):
        words = rng.choice(["the", "system", "user", "é", "\n", "{", " and", "<|im_end|>"], rng.integers(1, 40))
        messages.append(user(f"{n} " + "".join(words.tolist())))
        if n == 4:
            del messages[3:5]  # a question of before was another one
        held = await say(session, messages, params)
        alone = await open_chat(manager._engine, ChatPrompt(messages=list(messages)), params)
        prompt = alone.sequence.token_ids().tolist()
        tokens, last, message = await read(alone)
        assert held[0] == tokens
        assert held[1].finish == last.finish
        assert held[1].token.usage.prompt_tokens == last.token.usage.prompt_tokens == len(prompt)
        assert session.token_ids().tolist()[: len(prompt)] == prompt
        assert session.turns == session.version == n + 1
        messages.append(message)
        await assert_replayable(manager._engine, session.context)


async def test_what_is_held_is_not_computed_again(manager):
    session = await manager.create(SessionSpec("be brief"))
    messages = [user("the system and the user " * 30)]
    _, last, message = await say(session, messages)
    n_held = session.context.sequence.n_tokens
    _, last, _ = await say(session, [*messages, message, user("more")])
    assert n_held - 1 <= last.token.usage.cached_tokens <= n_held
    assert manager.totals.cached_tokens >= n_held - 1


# -- data ----------------------------------------------------------------------------------------------------------


async def test_a_turn_sees_everything_acknowledged_before_it_and_keeps_its_place(manager):
    session = await manager.create(SessionSpec("be brief"))
    session.context.push(CANDLES[:2])
    first = [user("up?")]
    tokens, _, message = await say(session, first)
    assert [entry.kind for entry in session.context.tape] == ["prompt", "header", "rows", "turn"]
    session.context.push(CANDLES[2:4])
    more = [*first, message, user("and now?")]
    tokens, last, _ = await say(session, more)
    assert [entry.kind for entry in session.context.tape] == ["prompt", "header", "rows", "turn", "rows", "turn"]
    assert session.version == 4
    entries = session.context.tape.entries
    texts = [session._framing.model.tokenizer.decode(entry.token_ids.tolist(), special=True) for entry in entries]
    assert texts[3].startswith("<|im_start|>user\nup?<|im_end|>\n<|im_start|>assistant\n")
    assert texts[3].endswith("<|im_end|>\n")
    assert texts[5].startswith("<|im_start|>user\nand now?<|im_end|>\n<|im_start|>assistant\n")
    # the same ids in one piece say the same
    engine = manager._engine
    ids = session.context.tape.token_ids().tolist()[: last.token.usage.prompt_tokens]
    sequence = engine.open()
    sequence.append(ids)
    events = [event async for event in sequence.generate(GREEDY)]
    sequence.close()
    assert [(e.token_id, e.text, e.logprob, e.top_logprobs) for e in events] == tokens
    await assert_replayable(engine, session.context)


async def test_data_waits_while_a_turn_is_answered(manager):
    session = await manager.create(SessionSpec("be brief"))
    turn = await session.chat(ChatPrompt(messages=[user("up?")]), GREEDY)
    steps = turn.steps()
    await anext(steps)
    ack = session.context.push(CANDLES)
    assert (ack.n_pushed, ack.version) == (5, 0)
    async for _ in steps:
        pass
    turn.close()
    await settle(session)
    assert [entry.kind for entry in session.context.tape] == ["prompt", "turn", "header", "rows"]
    assert session.version == 2


async def test_a_turn_is_a_version_that_listeners_and_flash_queries_hear_of(manager):
    session = await manager.create(SessionSpec("be brief", flash=(FlashSpec("up?", 4),)))
    subscription = session.hub.subscribe()
    await say(session, [user("the user")])
    await settle(session)
    session.hub.close()
    events = [item.event async for batch in subscription.batches() for item in batch]
    assert [type(event) for event in events] == [DataUpdated, FlashReady]
    assert [event.version for event in events] == [1, 1]


async def test_questions_are_asked_behind_the_turns_and_leave_them_alone(manager):
    session = await manager.create(SessionSpec("be brief"))
    messages = [user("up?")]
    _, _, message = await say(session, messages)
    held = session.context.tape.token_ids().tolist()
    answer = await session.ask("down?", GREEDY)
    await answer.turn.collect()
    answer.close()
    assert session.token_ids().tolist()[: len(held)] == held
    await say(session, [*messages, message, user("more")])
    assert session.context.tape.token_ids().tolist()[: len(held)] == held
    assert session.token_ids().tolist() == session.context.tape.token_ids().tolist()


# -- other conversations -------------------------------------------------------------------------------------------


async def test_turns_that_are_no_part_of_the_conversation_leave_and_data_stays(manager):
    session = await manager.create(SessionSpec("be brief"))
    messages = []
    for n in range(3):
        messages.append(user(f"question {n}"))
        _, _, message = await say(session, messages)
        messages.append(message)
        session.push(CANDLES[n : n + 1])
    messages[2] = user("another question")
    _, last, _ = await say(session, messages[:3])
    kinds = ["prompt", "turn", "header", "rows", "rows", "rows", "turn"]
    assert [entry.kind for entry in session.context.tape if len(entry.token_ids)] == kinds
    text = text_of(session)
    assert text.count("question 0") == text.count("another question") == 1
    assert "question 1" not in text
    assert session.context.n_rows == 3
    assert len(session.conversation.turns) == 2
    assert last.token.usage.cached_tokens > 0
    await assert_replayable(manager._engine, session.context)


async def test_a_conversation_that_begins_anew_leaves_the_data_alone(manager):
    session = await manager.create(SessionSpec("be brief"))
    session.push(CANDLES)
    await say(session, [user("up?")])
    await say(session, [user("down?")])
    assert [entry.kind for entry in session.context.tape if len(entry.token_ids)] == [
        "prompt", "header", "rows", "turn",
    ]  # fmt: skip
    assert "up?" not in text_of(session)


# -- turns that do not end ----------------------------------------------------------------------------------------


async def test_a_turn_that_is_left_changes_nothing_and_may_be_taken_again(manager):
    session = await manager.create(SessionSpec("be brief"))
    _, _, message = await say(session, [user("up?")])
    messages = [user("up?"), message, user("and down?")]
    before, n_sequences = session.token_ids().tolist(), manager._engine.stats().n_sequences
    for n_steps in (0, 1, 5):
        turn = await session.chat(ChatPrompt(messages=messages), LONG)
        assert session.busy
        steps = turn.steps()
        for _ in range(n_steps):
            await anext(steps)
        await steps.aclose()
        turn.close()
        turn.close()
        assert (session.busy, session.version, session.turns) == (False, 1, 1)
        assert session.token_ids().tolist() == before
    assert manager._engine.stats().n_sequences == n_sequences
    other = await manager.create(SessionSpec("be brief"))
    await say(other, messages[:1])
    assert await say(session, messages) == await say(other, messages)


async def test_a_reader_that_leaves_at_the_last_step_leaves_a_durable_turn(manager):
    session = await manager.create(SessionSpec("be brief"))
    turn = await session.chat(ChatPrompt(messages=[user("up?")]), GREEDY)

    async def watch():
        async for step in turn.steps():
            assert step.finish is None

    reader = asyncio.create_task(watch())
    while turn._settling is None:
        await asyncio.sleep(0)
    reader.cancel()
    await asyncio.wait({reader})
    turn.close()
    await turn._settling
    assert (session.turns, session.version, session.busy) == (1, 1, False)
    await assert_replayable(manager._engine, session.context)


@pytest.mark.parametrize(("wire", "kind"), [(1, "ohlcv"), (2, TEXT)])
async def test_a_turn_that_does_not_fit_leaves_the_session_as_it_was(manager, wire, kind):
    session = await manager.create(SessionSpec("be brief", context=100, wire=wire, type=kind))
    before = session.token_ids().tolist()
    with pytest.raises(ContextOverflow) as caught:
        await session.chat(ChatPrompt(messages=[user("x" * 100)]), GREEDY)
    assert caught.value.param == "messages"
    assert caught.value.n_tokens > caught.value.limit == 100
    assert (session.busy, session.token_ids().tolist(), session.version) == (False, before, 0)
    _, last, message = await say(session, [user("up?")], SamplingParams(ignore_eos=True))
    assert last.finish is ReplyFinish.LENGTH
    assert session.n_tokens == 100  # nothing fits behind the reply
    with pytest.raises(ContextOverflow):
        await say(session, [user("up?"), message, user("more")])
    assert session.n_tokens == 100
    await say(session, [user("down?")])  # what took the room leaves
    assert session.n_tokens < 100


async def test_requests_that_the_model_cannot_take(manager):
    session = await manager.create(SessionSpec("be brief"))
    with pytest.raises(InvalidRequest):
        await session.chat(ChatPrompt(messages=[user("up?")]), SamplingParams(logit_bias={1 << 30: 1.0}))
    with pytest.raises(InvalidRequest):
        await session.chat(ChatPrompt(messages=[{"role": "user"}]), GREEDY)
    assert not session.busy
    await say(session, [user("up?")])


async def test_the_second_generation_is_told_at_once_that_a_session_is_busy(manager, monkeypatch):
    first, second = [await manager.create(SessionSpec("be brief", wire=wire)) for wire in (1, 2)]
    prompt = ChatPrompt(messages=[user("up?")])
    turn = await second.chat(prompt, LONG)
    with pytest.raises(Conflict):
        await second.chat(prompt, GREEDY)
    turn.close()
    turn = await first.chat(prompt, LONG)
    waiting = asyncio.create_task(say(first, [user("down?")]))
    await asyncio.sleep(0.01)
    turn.close()
    await waiting
    monkeypatch.setattr(session_module, "FOREGROUND_WAIT", 0.01)
    turn = await first.chat(prompt, LONG)
    with pytest.raises(Conflict):
        await first.chat(prompt, GREEDY)
    turn.close()


async def test_closing_a_session_gives_everything_back(manager):
    n_before = manager._engine.stats().n_sequences
    session = await manager.create(SessionSpec("be brief"))
    await say(session, [user("up?")])
    await session.warm(ChatPrompt(messages=[user("down?")]))
    warming = asyncio.create_task(session.warm(ChatPrompt(messages=[user("the " * 900)])))
    while not session.conversation.warming:
        await asyncio.sleep(0)
    await manager.delete(session.id)
    assert (await warming).finish is WarmFinish.CANCELLED
    assert manager._engine.stats().n_sequences == n_before


async def test_a_window_moves_over_turns(manager, rng):
    session = await manager.create(SessionSpec("be brief", context=600, window=300, wire=2, type=TEXT))
    messages = []
    for n in range(12):
        session.push("".join(rng.choice(["the ", "a ", "user "], 20).tolist()))
        messages.append(user(f"{n}?"))
        _, _, message = await say(session, messages)
        messages.append(message)
        await assert_replayable(manager._engine, session.context)
    assert session.context.n_evicted > 5
    assert session.context.n_rebases > 0
    assert "11?" in text_of(session)
    assert len(session.context.tape.kept_ids()) < 400


# -- tools ---------------------------------------------------------------------------------------------------------

WHOLE = SamplingParams(max_tokens=200, logprobs=True, top_logprobs=2)
LOOK_UP = Tool("look_up", "Looks it up.", {"type": "object", "properties": {"city": {"type": "string"}}})
CALL = '<tool_call>\n{"name":"look_up", "arguments":{"city": "Paris"}}\n</tool_call>'


@pytest.fixture
async def scripted(tmp_path):
    replies = [cut(CALL), cut("It is 21 °C."), cut("<think>\nhot\n</think>\n\nYes."), cut("No.", 1), cut(CALL + CALL)]
    with scripted_engine(tmp_path / "scripted.gguf", replies) as engine:
        made = SessionManager(AsyncEngine.wrap(engine))
        yield made
        await made.aclose()


@pytest.mark.parametrize("prompt", ["", "be brief"])
@pytest.mark.parametrize("frozen", [False, True])
async def test_a_conversation_with_tools(scripted, prompt, frozen):
    session = await scripted.create(SessionSpec(prompt, mark_prefix=frozen))
    messages = [user("How warm is it in Paris?<|0|>")]
    tokens, last, message = await say(session, messages, WHOLE, tools=(LOOK_UP,))
    assert last.finish is ReplyFinish.TOOL_CALLS
    assert message["tool_calls"][0]["function"] == {"name": "look_up", "arguments": '{"city": "Paris"}'}
    if not frozen:
        whole = [SYSTEM, *messages] if prompt else messages
        alone = await open_chat(scripted._engine, ChatPrompt(messages=list(whole), tools=(LOOK_UP,)), WHOLE)
        ids = alone.sequence.token_ids().tolist()
        assert (await read(alone))[0] == tokens
        assert session.token_ids().tolist()[: len(ids)] == ids
    held = session.token_ids().tolist()
    message["tool_calls"][0]["function"]["arguments"] = '{ "city":"Paris" }'
    result = {"role": "tool", "tool_call_id": "call_0", "name": "look_up", "content": "21<|1|>"}
    messages += [{**message, "content": None}, result]
    _, last, message = await say(session, messages, WHOLE, tools=(LOOK_UP,))
    assert message["content"] == "It is 21 °C."
    assert session.token_ids().tolist()[: len(held)] == held
    assert CALL in text_of(session)  # as the model wrote it
    _, _, message = await say(session, [*messages, message, user("Is that hot?<|2|>")], WHOLE, tools=(LOOK_UP,))
    assert message["content"] == "Yes."
    assert "<think>\nhot\n</think>" in text_of(session)
    messages = [*messages, {"role": "assistant", "content": "It is 21 °C."}, user("Is that hot?<|2|>"), message]
    await say(session, [*messages, user("Is it cold?<|3|>")], WHOLE, tools=(LOOK_UP,))
    assert "<think>\nhot\n</think>" in text_of(session)
    assert (scripted.totals.call_turns_exact, scripted.totals.call_turns_diverged) == (3, 0)
    messages[1] = {**messages[1], "content": "Well."}
    await say(session, [*messages, user("Is it cold?<|3|>")], WHOLE, tools=(LOOK_UP,))
    assert (scripted.totals.call_turns_exact, scripted.totals.call_turns_diverged) == (3, 1)


async def test_a_turn_that_may_call_once_ends_with_the_call(scripted):
    session = await scripted.create(SessionSpec("be brief"))
    choice = ToolChoice(parallel=False)
    messages = [user("How warm is it?<|4|>")]
    _, last, message = await say(session, messages, WHOLE, tools=(LOOK_UP,), tool_choice=choice)
    assert last.finish is ReplyFinish.TOOL_CALLS
    assert len(message["tool_calls"]) == 1
    assert text_of(session).count('{"city": "Paris"}') == 1
    result = {"role": "tool", "tool_call_id": "call_0", "name": "look_up", "content": "21<|1|>"}
    _, _, message = await say(session, [*messages, message, result], WHOLE, tools=(LOOK_UP,), tool_choice=choice)
    assert message["content"] == "It is 21 °C."
    assert scripted.totals.call_turns_exact == 1
    await assert_replayable(scripted._engine, session.context)


async def test_tools_stand_behind_data_that_is_there_already(scripted):
    session = await scripted.create(SessionSpec("be brief"))
    session.push(CANDLES)
    await settle(session)
    held = session.token_ids().tolist()
    _, last, _ = await say(session, [user("How warm is it?<|0|>")], WHOLE, tools=(LOOK_UP,))
    assert last.finish is ReplyFinish.TOOL_CALLS
    assert session.token_ids().tolist()[: len(held)] == held


# -- turns ahead ---------------------------------------------------------------------------------------------------


async def test_a_turn_that_was_warmed_has_nothing_left_to_compute(manager):
    session = await manager.create(SessionSpec("be brief", wire=2, type=TEXT))
    session.push("some data")
    await settle(session)
    prompt = ChatPrompt(messages=[user("the system and " * 20)])
    warmed = await session.warm(prompt)
    assert warmed.finish is WarmFinish.WARMED
    assert (session.version, session.turns, warmed.version) == (1, 0, 1)
    assert session.n_tokens == session.context.sequence.n_tokens
    assert warmed.n_held <= session.n_tokens
    assert (await session.warm(prompt)).finish is WarmFinish.COVERED
    turn = await session.chat(prompt, GREEDY)
    tokens, last, message = await read(turn)
    assert last.token.usage.prompt_tokens == warmed.n_prompt
    assert last.token.usage.cached_tokens >= warmed.n_prompt - 1
    assert manager.totals.warm_turns == 1
    assert manager.totals.warmed_tokens == warmed.n_prompt - warmed.n_held - warmed.n_found
    await assert_replayable(manager._engine, session.context)
    other = await manager.create(SessionSpec("be brief", wire=2, type=TEXT))
    other.push("some data")
    assert (await say(other, prompt.messages))[0] == tokens
    again = ChatPrompt(messages=[*prompt.messages, message, user("more " * 20)])
    assert (await session.warm(again)).n_held >= session.n_tokens - 1


async def test_a_turn_takes_over_from_a_warm_and_has_what_was_computed(manager):
    session = await manager.create(SessionSpec("be brief"))
    prompt = ChatPrompt(messages=[user("the " * 1500)])
    warming = asyncio.create_task(session.warm(prompt))
    while not session.conversation.warming or session.conversation._warming.turn.sequence.n_cached < 64:
        await asyncio.sleep(0)
    turn = await session.chat(prompt, GREEDY)
    warmed = await warming
    _, last, _ = await read(turn)
    assert warmed.finish is WarmFinish.CANCELLED
    assert last.token.usage.cached_tokens >= 64
    assert warmed.n_prompt == last.token.usage.prompt_tokens


async def test_the_newer_of_two_warms_goes_on(manager):
    session = await manager.create(SessionSpec("be brief"))
    prompts = [ChatPrompt(messages=[user(f"{n} " + "the " * 900)]) for n in range(3)]
    warms = [asyncio.create_task(session.warm(prompt)) for prompt in prompts]
    finishes = [(await warm).finish for warm in warms]
    assert finishes == [WarmFinish.CANCELLED, WarmFinish.CANCELLED, WarmFinish.WARMED]


async def test_a_warm_of_another_conversation_leaves_the_turns_alone(manager):
    session = await manager.create(SessionSpec("be brief"))
    await say(session, [user("up?")])
    before = session.token_ids().tolist()
    other = ChatPrompt(messages=[user("down? " * 40)])
    warmed = await session.warm(other)
    assert warmed.finish is WarmFinish.WARMED
    assert (session.token_ids().tolist(), session.version) == (before, 1)
    _, last, _ = await say(session, other.messages)
    assert last.token.usage.cached_tokens >= warmed.n_prompt - 1
    assert "up?" not in text_of(session)


async def test_new_data_ends_a_warm(manager):
    session = await manager.create(SessionSpec("be brief"))
    warming = asyncio.create_task(session.warm(ChatPrompt(messages=[user("the " * 1500)])))
    while not session.conversation.warming:
        await asyncio.sleep(0)
    session.push(CANDLES)
    assert (await warming).finish is WarmFinish.CANCELLED
    await settle(session)
    assert session.context.n_rows == 5


async def test_warming_a_busy_session_conflicts_and_one_that_does_not_fit_overflows(manager):
    session = await manager.create(SessionSpec("be brief", context=200))
    prompt = ChatPrompt(messages=[user("up?")])
    turn = await session.chat(prompt, LONG)
    with pytest.raises(Conflict):
        await session.warm(prompt)
    turn.close()
    with pytest.raises(ContextOverflow):
        await session.warm(ChatPrompt(messages=[user("x" * 300)]))
    assert (await session.warm(prompt)).finish is WarmFinish.WARMED


async def test_a_warm_that_is_left_is_stopped(manager):
    session = await manager.create(SessionSpec("be brief"))
    warming = asyncio.create_task(session.warm(ChatPrompt(messages=[user("the " * 1500)])))
    while not session.conversation.warming:
        await asyncio.sleep(0)
    warming.cancel()
    with pytest.raises(asyncio.CancelledError):
        await warming
    assert not session.conversation.warming
    await say(session, [user("up?")])
    assert np.array_equal(session.token_ids(), session.context.tape.token_ids())


# -- a real model --------------------------------------------------------------------------------------------------


@pytest.mark.model
async def test_a_real_model_calls_a_tool_in_a_session_as_it_does_without_one(model_path):
    choice = ToolChoice(ToolMode.REQUIRED, parallel=False)
    params = SamplingParams(max_tokens=80, logprobs=True, top_logprobs=2)
    async with AsyncEngine(model_path, n_ctx=2048, kv_memory="256M", n_threads=2) as engine:
        manager = SessionManager(engine)
        session = await manager.create(SessionSpec("be brief"))
        messages = [user("How warm is it in Paris?")]
        tokens, last, message = await say(session, messages, params, tools=(LOOK_UP,), tool_choice=choice)
        assert last.finish is ReplyFinish.TOOL_CALLS
        alone = ChatPrompt(messages=[SYSTEM, *messages], tools=(LOOK_UP,), tool_choice=choice)
        assert (await read(await open_chat(engine, alone, params)))[0] == tokens
        session.push(CANDLES)
        result = {"role": "tool", "tool_call_id": "call_0", "name": "look_up", "content": "21 degrees"}
        _, last, _ = await say(session, [*messages, message, result], params, tools=(LOOK_UP,))
        assert [entry.kind for entry in session.context.tape][1:] == ["turn", "header", "rows", "turn"]
        assert last.token.usage.cached_tokens > 0
        assert manager.totals.call_turns_exact == 1
        await assert_replayable(engine, session.context)
        await manager.aclose()
