"""Conversations on the real engine over a tiny random model."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import numpy as np
import pytest

from kvtape.chat.conversation import (
    Framing,
    adds_bos,
    begin_turn,
    common_prefix_len,
    encode_chat,
    encode_prompt,
    open_chat,
    open_prompts,
    rewrite,
)
from kvtape.chat.template import template_of
from kvtape.engine import AsyncEngine
from kvtape.errors import ContextOverflow, InvalidRequest
from kvtape.model.load import load
from kvtape.types import FinishReason, SamplingParams

HELLO = [{"role": "user", "content": "the system and the user"}]


@pytest.fixture
def engine(tiny_engine):
    return AsyncEngine.wrap(tiny_engine)


def test_a_conversation_is_rendered_and_encoded_with_its_special_tokens(engine):
    ids = encode_chat(engine.model, HELLO)
    text = engine.model.tokenizer.decode(ids, special=True)
    assert text == "<|im_start|>user\nthe system and the user<|im_end|>\n<|im_start|>assistant\n"
    assert engine.model.tokenizer.special_tokens["<|im_start|>"] in ids


def test_a_reply_that_has_begun_stays_open(engine):
    ids = encode_chat(engine.model, HELLO, prefill="the cache<|im_end|>")
    text = engine.model.tokenizer.decode(ids, special=True)
    assert text == engine.model.tokenizer.decode(encode_chat(engine.model, HELLO), special=True) + "the cache<|im_end|>"


async def test_a_prefill_counts_as_prompt(engine):
    turn = await open_chat(engine, HELLO, SamplingParams(max_tokens=1), prefill="the cache")
    assert turn.sequence.token_ids().tolist() == encode_chat(engine.model, HELLO, prefill="the cache")
    assert turn.start == turn.sequence.n_tokens
    turn.close()


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [([], [], 0), ([1], [], 0), ([1, 2], [1, 2], 2), ([1, 2, 3], [1, 2], 2), ([1, 2], [1, 3, 2], 1), ([2], [1], 0)],
)
def test_common_prefix(first, second, expected):
    assert common_prefix_len(first, second) == common_prefix_len(np.asarray(second, dtype=np.int32), first) == expected


async def test_a_turn_yields_its_tokens_and_their_usage(engine):
    turn = await open_chat(engine, HELLO, SamplingParams(max_tokens=6, ignore_eos=True))
    events = await turn.collect()
    turn.close()
    assert len(events) == 6
    assert events[-1].finish_reason is FinishReason.LENGTH
    assert events[-1].usage.prompt_tokens == len(encode_chat(engine.model, HELLO))
    assert events[-1].usage.completion_tokens == 6
    assert turn.finished is events[-1]


async def test_the_same_conversation_again_is_cached_and_answered_alike(engine):
    messages = [{"role": "user", "content": "the " * 100}]
    answers = []
    for _ in range(2):
        turn = await open_chat(engine, messages, SamplingParams(max_tokens=5, ignore_eos=True))
        events = await turn.collect()
        turn.close()
        answers.append([event.token_id for event in events])
    assert answers[0] == answers[1]
    assert events[-1].usage.cached_tokens > 0


async def test_a_conversation_that_does_not_fit_is_refused_before_it_runs(engine):
    messages = [{"role": "user", "content": "x" * engine.n_ctx}]
    with pytest.raises(ContextOverflow) as caught:
        await open_chat(engine, messages, SamplingParams())
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
    turn = await open_chat(engine, HELLO, SamplingParams(ignore_eos=True))
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


class Template:
    """A chat template with a turn each way and a clock, or one that has no system turn."""

    def __init__(self, *, system: bool = True):
        self.system = system

    def render(self, messages, *, add_generation_prompt=True, now=None):
        if messages[0]["role"] == "system" and not self.system:
            raise InvalidRequest("system role is not supported")
        text = "".join(f"[{message['role']}|{message['content']}]" for message in messages)
        return f"{now}{text}" + ("[assistant|" if add_generation_prompt else "")


@pytest.fixture
def frame(engine, monkeypatch):
    monkeypatch.setattr("kvtape.chat.conversation.template_of", lambda model: model.chat_template)

    def make(template, prompt):
        model = SimpleNamespace(chat_template=template, tokenizer=engine.model.tokenizer)
        return Framing(model, prompt, now=7.0)

    return make


def test_framing_renders_system_turn_and_question(engine, frame):
    framing = frame(Template(), "be brief")
    decode = engine.model.tokenizer.decode
    assert framing.templated
    assert framing.head == decode(framing.head_ids) == "7.0[system|be brief]"
    assert decode(framing.encode_question("why?")) == "[user|why?][assistant|"
    assert decode(framing.encode_text("raw")) == "raw"


@pytest.mark.parametrize(
    ("template", "prompt"), [(None, "be brief"), (Template(), ""), (Template(system=False), "be brief")]
)
def test_framing_is_raw_without_template_or_system_prompt(engine, frame, template, prompt):
    framing = frame(template, prompt)
    decode = engine.model.tokenizer.decode
    assert not framing.templated
    assert framing.head == decode(framing.head_ids) == prompt
    assert decode(framing.encode_question("why?")) == "why?"


def test_raw_text_has_no_special_tokens_and_templates_do(engine, frame):
    special = engine.model.tokenizer.special_tokens["<|im_start|>"]
    assert special in frame(template_of(engine.model), "be brief").head_ids
    raw = frame(None, "<|im_start|>")
    assert special not in raw.head_ids
    assert special not in raw.encode_question("<|im_start|>")


def test_rewrite_keeps_the_common_prefix(tiny_engine):
    sequence = tiny_engine.open()
    for wanted in ([4, 5, 6], [4, 5, 6, 7], [4, 5, 9, 9, 9], [4], [4], [8, 8], [8, 8, 8]):
        rewrite(sequence, wanted)
        assert sequence.token_ids().tolist() == wanted
    sequence.close()
