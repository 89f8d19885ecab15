"""Turns to be computed ahead."""

from __future__ import annotations

import json

import pytest

from kvtape.errors import InvalidRequest
from kvtape.protocols.layerscale.warm import decode_warm

ASK = [{"role": "user", "content": "hi"}]


def decode(**fields):
    return decode_warm(json.dumps({"messages": ASK, **fields}).encode())


def test_what_makes_the_prompt_is_read():
    prompt = decode(
        tools=[{"function": {"name": "f", "parameters": {"type": "object"}}}],
        reasoning_effort="low",
        chat_template_kwargs={"date_string": "today"},
    )
    assert prompt.messages == ASK
    assert [tool.name for tool in prompt.tools] == ["f"]
    assert prompt.thinking.enabled is False
    assert prompt.template_options == {"date_string": "today"}


def test_all_else_is_ignored():
    assert decode(temperature="hot", tool_choice={"type": 4}, n=9, max_tokens=-1, stop=[1], logprobs="yes") == decode()


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": None}, "messages"),
        ({"tools": [{"type": "x"}]}, "tools[0].type"),
        ({"chat_template_kwargs": {"x": 1}}, "chat_template_kwargs.x"),
        ({"reasoning_effort": 1}, "reasoning_effort"),
    ],
)
def test_refusals_name_the_parameter(fields, param):
    with pytest.raises(InvalidRequest) as caught:
        decode(**fields)
    assert caught.value.param == param
