"""What a request says about reasoning."""

from __future__ import annotations

import pytest

from kvtape.errors import InvalidRequest
from kvtape.protocols.openai.request_models import ChatRequest, Reasoning
from kvtape.protocols.openai.thinking import read_template_options, read_thinking, shows_reasoning
from kvtape.types import Thinking


def request(**fields):
    return ChatRequest(messages=[], **fields)


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({}, Thinking()),
        ({"reasoning_effort": "none"}, Thinking(enabled=False)),
        ({"reasoning_effort": "low"}, Thinking(enabled=False)),
        ({"reasoning_effort": "medium"}, Thinking(enabled=True)),
        ({"reasoning": Reasoning(effort="max")}, Thinking(enabled=True)),
        ({"reasoning": Reasoning(enabled=False)}, Thinking(enabled=False)),
        ({"reasoning": Reasoning(max_tokens=9)}, Thinking(enabled=True, budget=9)),
        ({"thinking_budget": 9}, Thinking(enabled=True, budget=9)),
        ({"thinking_budget": 0}, Thinking(enabled=False, budget=0)),
        ({"thinking_budget": 9, "reasoning_effort": "none"}, Thinking(enabled=False, budget=9)),
        ({"chat_template_kwargs": {"enable_thinking": True}}, Thinking(enabled=True)),
        ({"chat_template_kwargs": {"enable_thinking": True}, "reasoning_effort": "low"}, Thinking(enabled=False)),
    ],
)
def test_thinking(fields, wanted):
    assert read_thinking(request(**fields)) == wanted


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"reasoning_effort": "huge"}, "reasoning_effort"),
        ({"reasoning": Reasoning(effort="huge")}, "reasoning.effort"),
        ({"reasoning_effort": "low", "reasoning": Reasoning(effort="low")}, "reasoning.effort"),
        ({"thinking_budget": -1}, "thinking_budget"),
        ({"reasoning": Reasoning(max_tokens=1 << 40)}, "reasoning.max_tokens"),
        ({"thinking_budget": 5, "reasoning": Reasoning(max_tokens=5)}, "reasoning.max_tokens"),
    ],
)
def test_refusals_name_the_field(fields, param):
    with pytest.raises(InvalidRequest) as caught:
        read_thinking(request(**fields))
    assert caught.value.param == param


def test_what_is_shown():
    assert shows_reasoning(request())
    assert shows_reasoning(request(include_reasoning=True, reasoning=Reasoning(exclude=False)))
    assert not shows_reasoning(request(include_reasoning=False))
    assert not shows_reasoning(request(reasoning=Reasoning(exclude=True)))


def test_template_options():
    options = {"date_string": "today", "enable_thinking": True, "add_generation_prompt": True}
    assert read_template_options(request(chat_template_kwargs=options)) == {"date_string": "today"}
    for name, value in (("x", 1), ("enable_thinking", 1), ("date_string", 4), ("add_generation_prompt", False)):
        with pytest.raises(InvalidRequest) as caught:
            read_template_options(request(chat_template_kwargs={name: value}))
        assert caught.value.param == f"chat_template_kwargs.{name}"
