"""Conversations on the real engine over a tiny random model."""

from __future__ import annotations

import asyncio

import pytest

from kvtape.chat.conversation import adds_bos, begin_turn, encode_prompt, open_chat, open_prompts
from kvtape.chat.prompt import encode_chat
from kvtape.chat.reply import broken_calls
from kvtape.chat.splice import Splices
from kvtape.engine import AsyncEngine
from kvtape.errors import ContextOverflow, InvalidRequest
from kvtape.model.load import load
from kvtape.types import (
    ChatPrompt,
    ContentDelta,
    FinishReason,
    ReplyFinish,
    SamplingParams,
    TokenEvent,
    Tool,
    ToolCallArguments,
    ToolCallEnd,
    ToolCallStart,
    ToolChoice,
    Usage,
    gather,
)

HELLO = [{"role": "user", "content": "the system and the user"}]


def chat(**options):
    return ChatPrompt(messages=HELLO, **options)


@pytest.fixture
def engine(tiny_engine):
    return AsyncEngine.wrap(tiny_engine)


async def test_a_prefill_counts_as_prompt(engine):
    turn = await open_chat(engine, chat(prefill="the cache"), SamplingParams(max_tokens=1))
    assert turn.sequence.token_ids().tolist() == encode_chat(engine.model, chat(prefill="the cache"))
    assert turn.start == turn.sequence.n_tokens
    turn.close()


async def test_a_turn_yields_its_tokens_and_their_usage(engine):
    turn = await open_chat(engine, chat(), SamplingParams(max_tokens=6, ignore_eos=True))
    events = await turn.collect()
    turn.close()
    assert len(events) == 6
    assert events[-1].finish_reason is FinishReason.LENGTH
    assert events[-1].usage.prompt_tokens == len(encode_chat(engine.model, chat()))
    assert events[-1].usage.completion_tokens == 6
    assert turn.finished is events[-1]


async def test_the_same_conversation_again_is_cached_and_answered_alike(engine):
    messages = [{"role": "user", "content": "the " * 100}]
    answers = []
    for _ in range(2):
        turn = await open_chat(engine, ChatPrompt(messages=messages), SamplingParams(max_tokens=5, ignore_eos=True))
        events = await turn.collect()
        turn.close()
        answers.append([event.token_id for event in events])
    assert answers[0] == answers[1]
    assert events[-1].usage.cached_tokens > 0


async def test_a_conversation_that_does_not_fit_is_refused_before_it_runs(engine):
    messages = [{"role": "user", "content": "x" * engine.n_ctx}]
    with pytest.raises(ContextOverflow) as caught:
        await open_chat(engine, ChatPrompt(messages=messages), SamplingParams())
    assert caught.value.param == "messages"
    assert caught.value.n_tokens > caught.value.limit == engine.n_ctx


async def test_a_turn_stops_at_its_limit(engine):
    sequence = engine.open()
    turn = begin_turn(sequence, [5, 6, 7], SamplingParams(ignore_eos=True), limit=10, param="prompt")
    events = await turn.collect()
    assert (turn.start, len(events), sequence.n_tokens) == (3, 7, 10)
    turn.close()


@pytest.mark.parametrize(("n_ids", "error"), [(10, ContextOverflow), (11, ContextOverflow), (0, InvalidRequest)])
async def test_a_prompt_must_leave_room_for_a_token(engine, n_ids, error):
    sequence = engine.open()
    with pytest.raises(error) as caught:
        begin_turn(sequence, [5] * n_ids, SamplingParams(), limit=10, param="prompt")
    assert caught.value.param == "prompt"
    assert sequence.n_tokens == 0
    sequence.close()


async def test_leaving_a_turn_cancels_it(engine):
    turn = await open_chat(engine, chat(), SamplingParams(ignore_eos=True))
    stream = turn.events()
    await anext(stream)
    await stream.aclose()
    turn.close()
    for _ in range(1000):
        if engine.stats().running == 0:
            break
        await asyncio.sleep(0.005)
    assert engine.stats().running == 0
    assert turn.finished is None


async def test_raw_prompts_are_texts_or_ids(engine):
    tokenizer = engine.model.tokenizer
    turns = await open_prompts(engine, ["the <|im_start|>", [5, 6]], SamplingParams())
    assert turns[0].sequence.token_ids().tolist() == tokenizer.encode("the <|im_start|>", parse_special=True)
    assert turns[1].sequence.token_ids().tolist() == [5, 6]
    for turn in turns:
        turn.close()


@pytest.mark.parametrize(
    ("prompts", "params", "param"),
    [
        (["the", "x" * 4000], SamplingParams(), "prompt[1]"),
        ([[5], [1 << 20]], SamplingParams(), "prompt[1]"),
        ([[-1]], SamplingParams(), "prompt"),
        ([""], SamplingParams(), "prompt"),
        (["the"], SamplingParams(logit_bias={1 << 20: 1.0}), "logit_bias"),
    ],
)
async def test_a_prompt_that_is_refused_leaves_no_sequence(engine, prompts, params, param):
    n_before = engine.stats().n_sequences
    with pytest.raises(InvalidRequest) as caught:
        await open_prompts(engine, prompts, params)
    assert caught.value.param == param
    assert engine.stats().n_sequences == n_before


def test_a_text_gets_the_models_bos_unless_it_spells_it(make_tiny_model):
    model = load(make_tiny_model(architecture="gemma3"))
    assert model.tokenizer.add_bos
    ids = encode_prompt(model, "the")
    assert ids[0] == model.tokenizer.bos_id
    assert encode_prompt(model, f"{model.bos_text}the") == ids
    assert encode_prompt(model, ids[1:]) == ids[1:]
    assert [adds_bos(model, prompt) for prompt in ("the", f"{model.bos_text}the", [5])] == [True, False, False]


CALLS = (
    '<tool_call>{"name": "f", "arguments": {"a": 1}}</tool_call><tool_call>{"name": "f", "arguments": {}}</tool_call>'
)


async def replied(engine, monkeypatch, pieces, *, parallel=True, finish=FinishReason.STOP):
    """The steps of a chat turn whose model writes `pieces`."""

    async def events(self):
        for index, piece in enumerate(pieces):
            last = index == len(pieces) - 1
            self.finished = TokenEvent(
                index,
                piece,
                finish_reason=finish if last else None,
                usage=Usage(self.start, index + 1, 7) if last or not index else None,
            )
            yield self.finished

    monkeypatch.setattr("kvtape.chat.conversation.Turn.events", events)
    prompt = chat(tools=(Tool("f"),), tool_choice=ToolChoice(parallel=parallel))
    turn = await open_chat(engine, prompt, SamplingParams())
    steps = [step async for step in turn.steps()]
    turn.close()
    return turn, steps


@pytest.mark.parametrize("n_characters", [1, 3, 7, 1000])
async def test_a_reply_is_taken_apart_however_it_is_cut(engine, monkeypatch, n_characters):
    text = f"Well. {CALLS}"
    pieces = [text[at : at + n_characters] for at in range(0, len(text), n_characters)]
    _, steps = await replied(engine, monkeypatch, pieces)
    reply = gather(event for step in steps for event in step.events)
    assert [step.token.token_id for step in steps] == list(range(len(pieces)))
    assert reply.content == "Well. "
    assert [(call.name, call.arguments) for call in reply.tool_calls] == [("f", '{"a": 1}'), ("f", "{}")]
    assert [step.finish for step in steps] == [None] * (len(steps) - 1) + [ReplyFinish.TOOL_CALLS]


@pytest.mark.parametrize("n_characters", [1, 1000])
async def test_a_reply_that_may_call_once_ends_with_its_call(engine, monkeypatch, n_characters):
    pieces = [CALLS[at : at + n_characters] for at in range(0, len(CALLS), n_characters)]
    turn, steps = await replied(engine, monkeypatch, pieces, parallel=False)
    reply = gather(event for step in steps for event in step.events)
    assert [call.arguments for call in reply.tool_calls] == ['{"a": 1}']
    assert steps[-1].finish is ReplyFinish.TOOL_CALLS
    assert steps[-1].token is turn.finished
    assert turn.finished.finish_reason is FinishReason.STOP
    assert turn.finished.usage == Usage(turn.start, len(steps), 7)


async def test_a_call_that_is_cut_off_is_never_called_complete(engine, monkeypatch):
    _, steps = await replied(engine, monkeypatch, [CALLS[:40]], finish=FinishReason.LENGTH)
    kinds = [type(event) for step in steps for event in step.events]
    assert kinds == [ToolCallStart, ToolCallArguments]
    assert ToolCallEnd not in kinds
    assert steps[-1].finish is ReplyFinish.LENGTH


async def test_calls_that_the_model_broke_are_counted(engine, monkeypatch):
    broken = '<tool_call>{"name": "f", "arguments": {"a": }}</tool_call>'
    before = broken_calls(engine.model)
    for text, finish, n_broken in (
        (broken, FinishReason.STOP, 1),
        (CALLS, FinishReason.STOP, 1),
        (CALLS[:40], FinishReason.LENGTH, 1),
        (broken + broken, FinishReason.STOP, 3),
    ):
        await replied(engine, monkeypatch, [text], finish=finish)
        assert broken_calls(engine.model) - before == n_broken


async def test_a_request_without_tools_has_calls_as_content(engine, monkeypatch):
    turn = await open_chat(engine, chat(), SamplingParams(max_tokens=3, ignore_eos=True))
    steps = [step async for step in turn.steps()]
    turn.close()
    assert len(steps) == 3
    assert steps[-1].token.usage.completion_tokens == 3
    assert all(isinstance(event, ContentDelta) for step in steps for event in step.events)


async def test_a_follow_up_turn_continues_the_ids_that_were_generated(engine, monkeypatch):
    prompt = chat()
    letters = tuple(engine.model.tokenizer.encode("h e t a s u r")[::2])
    params = SamplingParams(temperature=2.0, seed=4, max_tokens=60, allowed_tokens=letters)  # never "the", "he" or "at"
    turn = await open_chat(engine, prompt, params)
    steps = [step async for step in turn.steps()]
    turn.close()
    content = gather(event for step in steps for event in step.events).content
    follow_up = ChatPrompt(messages=[*prompt.messages, {"role": "assistant", "content": content}, *chat().messages])
    held = turn.prepared.token_ids + [step.token.token_id for step in steps]
    again = await open_chat(engine, follow_up, SamplingParams(max_tokens=1))
    reused = [step async for step in again.steps()][-1].token.usage.cached_tokens
    again.close()
    assert held != turn.prepared.token_ids + engine.model.tokenizer.encode(content)
    assert again.prepared.token_ids[: len(held)] == held
    assert again.prepared.token_ids == encode_chat(engine.model, follow_up)
    assert reused == len(held) - 1  # the last token had no KV

    # A server that knows nothing of the turn: the same text, cut otherwise, is as good a prompt.
    monkeypatch.setattr("kvtape.chat.prompt.splices_of", lambda model: Splices(model.tokenizer))
    fresh = await open_chat(engine, follow_up, SamplingParams(max_tokens=3, ignore_eos=True))
    steps = [step async for step in fresh.steps()]
    fresh.close()
    decode = engine.model.tokenizer.decode
    assert fresh.prepared.token_ids != again.prepared.token_ids
    assert decode(fresh.prepared.token_ids, special=True) == decode(again.prepared.token_ids, special=True)
    assert steps[-1].token.usage.completion_tokens == 3
