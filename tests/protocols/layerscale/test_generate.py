"""Questions to sessions as literal bytes."""

from __future__ import annotations

import json

import pytest

from kvtape.errors import InvalidRequest
from kvtape.protocols.layerscale.generate import decode_generate
from kvtape.types import SamplingParams, Thinking, Tool


def decode(wire=2, **fields):
    return decode_generate(json.dumps(fields).encode(), wire=wire)


def test_the_first_generation_is_greedy_and_short():
    call = decode_generate(b"{}", wire=1)
    assert call.params == SamplingParams(max_tokens=256, temperature=0.0, top_p=1.0)
    assert (call.prompt, call.chat, call.stream, call.clear_after) == (None, None, False, False)
    assert (call.fast_answer, call.candidates, call.gap_threshold, call.thinking) == (None, (), 2.0, Thinking())


def test_the_second_generation_draws_and_has_no_cap():
    call = decode(prompt="q")
    assert call.params == SamplingParams(max_tokens=None, temperature=0.6, top_p=0.9)
    assert (call.prompt, call.stream, call.candidates, call.gap_threshold) == ("q", False, (), 2.0)


def test_every_field_and_alias():
    fields = {
        "prompt": "q", "stream": True, "maxTokens": 8, "temperature": 0.5, "top_p": 0.9, "seed": 4, "stop": ["\\n"],
        "fastAnswer": True, "ignore_eos": True, "messages": [], "tools": None, "gap_threshold": 0.5,
        "reasoning_effort": "high", "chat_template_kwargs": {"add_generation_prompt": True},
    }  # fmt: skip
    for wire in (1, 2):
        call = decode(wire, **fields)
        assert call.params == SamplingParams(
            max_tokens=8, temperature=0.5, top_p=0.9, seed=4, stop=("\\n",), ignore_eos=True
        )
        assert (call.prompt, call.stream, call.fast_answer, call.gap_threshold) == ("q", True, True, 0.5)
        assert call.thinking == Thinking(enabled=True)
    assert decode(1, clearAfter=1).clear_after is True
    assert decode(prompt="q", max_completion_tokens=5).params.max_tokens == 5
    assert decode(prompt="q", max_completion_tokens=5, max_tokens=6).params.max_tokens == 6
    assert decode(prompt="q", stop="END").params.stop == ("END",)
    assert decode(prompt="q", seed=-1).params.seed == (1 << 64) - 1


@pytest.mark.parametrize(
    ("effort", "enabled"),
    [("none", False), ("minimal", False), ("low", False), ("medium", True), ("high", True), ("max", True)],
)
def test_an_effort_outranks_the_template_s_switch(effort, enabled):
    call = decode(prompt="q", reasoning_effort=effort, chat_template_kwargs={"enable_thinking": not enabled})
    assert call.thinking == Thinking(enabled)
    assert decode(prompt="q", chat_template_kwargs={"enable_thinking": enabled}).thinking == Thinking(enabled)


@pytest.mark.parametrize("wire", [1, 2])
def test_fast_answers_are_told_apart_by_their_json_type(wire):
    assert decode(wire, prompt="q", fast_answer=True).fast_answer is True
    assert decode(wire, prompt="q", fast_answer=False).fast_answer is False
    call = decode(wire, prompt="q", temperature=0, fast_answer=["up", "down"])
    assert (call.fast_answer, call.candidates) == (None, ("up", "down"))
    assert decode(wire, prompt="q", fast_answer=[]).candidates == ()


@pytest.mark.parametrize(
    ("fields", "fast_answer"),
    [
        ({}, None),
        ({"max_tokens": 4}, None),
        ({"temperature": 0}, None),
        ({"temperature": 0, "top_p": 0.9, "seed": 1}, None),
        ({"temperature": 0.6}, False),
        ({"top_p": 0.5}, False),
        ({"seed": 1}, False),
        ({"stop": "x"}, False),
        ({"ignore_eos": True}, False),
    ],
)
def test_an_equal_flash_query_will_do_unless_the_request_asks_for_something_else(fields, fast_answer):
    assert decode(prompt="q", **fields).fast_answer is fast_answer
    assert decode(1, prompt="q", **fields).fast_answer is None


def test_a_conversation_of_the_first_generation():
    tool = {"type": "function", "function": {"name": "price", "parameters": {"type": "object"}}}
    call = decode(1, messages=[{"role": "user", "content": "up?"}], tools=[tool], reasoning_effort="none")
    assert call.prompt is None
    assert call.chat.messages == [{"role": "user", "content": "up?"}]
    assert call.chat.tools == (Tool("price", parameters={"type": "object"}),)
    assert call.chat.thinking == Thinking(enabled=False)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": ""}, "prompt"),
        ({"prompt": 5}, "prompt"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"max_completion_tokens": 0}, "max_completion_tokens"),
        ({"temperature": 3}, "temperature"),
        ({"top_p": -1}, "top_p"),
        ({"seed": 1.5}, "seed"),
        ({"stop": ["a"] * 5}, "stop"),
        ({"stop": "x" * 65}, "stop"),
        ({"stop": ["\u00e9" * 33]}, "stop"),
        ({"stop": [""]}, "stop"),
        ({"fast_answer": "up"}, "fast_answer"),
        ({"fast_answer": ["up", 7]}, "fast_answer[1]"),
        ({"fast_answer": ["up", " "]}, "fast_answer[1]"),
        ({"fast_answer": ["up", "up"]}, "fast_answer[1]"),
        ({"fast_answer": [str(n) for n in range(65)]}, "fast_answer"),
        ({"gap_threshold": -0.5}, "gap_threshold"),
        ({"gap_threshold": "wide"}, "gap_threshold"),
        ({"reasoning_effort": "some"}, "reasoning_effort"),
        ({"reasoning": {"enabled": True}}, "reasoning"),
        ({"thinking_budget": 5}, "thinking_budget"),
        ({"chat_template_kwargs": {"date_string": "today"}}, "chat_template_kwargs.date_string"),
        ({"chat_template_kwargs": {"enable_thinking": 1}}, "chat_template_kwargs.enable_thinking"),
        ({"chat_template_kwargs": {"add_generation_prompt": False}}, "chat_template_kwargs.add_generation_prompt"),
        ({"chat_template_kwargs": {"tone": "dry"}}, "chat_template_kwargs.tone"),
    ],
)
@pytest.mark.parametrize("wire", [1, 2])
def test_refusals(wire, fields, param):
    with pytest.raises(InvalidRequest) as caught:
        decode(wire, **{"prompt": "q", **fields})
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"clear_after": -1}, "clear_after"),
        ({"tools": [{"function": {"name": "f"}}]}, "tools"),
        ({"messages": [{"role": "user", "content": "x"}], "prompt": "q"}, "prompt"),
        ({"messages": [{"role": "king", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": "x"}], "tools": [{}]}, "tools[0].function"),
    ],
)
def test_refusals_of_the_first_generation(fields, param):
    with pytest.raises(InvalidRequest) as caught:
        decode(1, **fields)
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({}, "prompt"),
        ({"prompt": None}, "prompt"),
        ({"prompt": "q", "clear_after": 1}, "clear_after"),
        ({"prompt": "q", "messages": [{"role": "user", "content": "x"}]}, "messages"),
        ({"messages": [{"role": "user", "content": "x"}]}, "messages"),
        ({"prompt": "q", "tools": [{"function": {"name": "f"}}]}, "tools"),
    ],
)
def test_refusals_of_the_second_generation(fields, param):
    with pytest.raises(InvalidRequest) as caught:
        decode(2, **fields)
    assert caught.value.param == param
