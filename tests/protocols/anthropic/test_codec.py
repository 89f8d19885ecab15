"""Requests for messages as literal bytes."""

from __future__ import annotations

import contextlib
import json
from itertools import chain, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvtape.errors import InvalidRequest
from kvtape.protocols.anthropic.codec import decode_count_request, decode_message_request
from kvtape.protocols.anthropic.models import MessageRequest
from kvtape.types import ChatPrompt, Constraint, ConstraintKind, SamplingParams, Thinking, ToolChoice, ToolMode

USER = {"role": "user", "content": "Hi"}
MARK = {"cache_control": {"type": "ephemeral"}}
SCHEMA = {"type": "object", "properties": {"b": {"type": "string"}, "a": {"type": "string"}}}
TOOL = {"name": "look_up", "description": "Finds it.", "input_schema": SCHEMA}
FORMAT = {"type": "json_schema", "schema": SCHEMA}


def decode(**fields):
    return decode_message_request(json.dumps({"messages": [USER], "max_tokens": 5, **fields}).encode())


def test_defaults():
    call = decode()
    assert call.prompt == ChatPrompt(messages=[USER])
    assert call.params == SamplingParams(max_tokens=5, temperature=0.6, top_p=0.9)
    assert call.marked is None
    assert not call.stream
    assert call.shows_thinking


def test_every_sampling_field_is_honoured():
    call = decode(
        temperature=1, top_p=0.5, top_k=40, seed=3, ignore_eos=True, stop_sequences=["a", "b" * 256], stream=True
    )
    assert call.params == SamplingParams(
        max_tokens=5, temperature=1, top_p=0.5, top_k=40, seed=3, ignore_eos=True, stop=("a", "b" * 256)
    )
    assert call.stream


@pytest.mark.parametrize(
    "fields",
    [
        {"model": "whatever"}, {"metadata": {"user_id": "me"}}, {"user_profile_id": "me"}, {"service_tier": "auto"},
        {"service_tier": "standard_only"}, {"speed": "standard"}, {"tools": []}, {"tool_choice": {"type": "auto"}},
        {"mcp_servers": []}, {"container": None}, {"inference_geo": None}, {"output_config": {}},
        {"stop_sequences": []}, {"stream": False}, {"system": None}, {"not_known": 1},
    ],
)  # fmt: skip
def test_inert_fields_pass(fields):
    assert decode(**fields) == decode()


@pytest.mark.parametrize(
    ("fields", "thinking"),
    [
        ({"thinking": {"type": "disabled"}}, Thinking(enabled=False)),
        ({"thinking": {"type": "adaptive"}}, Thinking(enabled=True)),
        ({"thinking": {"type": "enabled", "budget_tokens": 4}}, Thinking(enabled=True, budget=4)),
        ({"output_config": {"effort": "low"}}, Thinking(enabled=False)),
        ({"output_config": {"effort": "max"}}, Thinking(enabled=True)),
        ({"output_config": {"effort": "max"}, "thinking": {"type": "disabled"}}, Thinking(enabled=False)),
    ],
)
def test_thinking(fields, thinking):
    assert decode(**fields).prompt.thinking == thinking


def test_thinking_that_is_not_shown():
    assert not decode(thinking={"type": "adaptive", "display": "omitted"}).shows_thinking
    assert decode(thinking={"type": "adaptive", "display": "summarized"}).shows_thinking


def test_tools_and_the_choice_among_them():
    prompt = decode(tools=[TOOL], tool_choice={"type": "tool", "name": "look_up"}).prompt
    assert [tool.name for tool in prompt.tools] == ["look_up"]
    assert prompt.tool_choice == ToolChoice(ToolMode.REQUIRED, ("look_up",))


@pytest.mark.parametrize("fields", [{"output_config": {"format": FORMAT}}, {"output_format": FORMAT}])
def test_the_schema_of_an_answer_keeps_its_order(fields):
    assert decode(**fields).prompt.answer == Constraint(ConstraintKind.JSON_SCHEMA, json.dumps(SCHEMA))


def test_a_mark_has_all_the_rest_of_the_request():
    call = decode(
        system=[{"type": "text", "text": "S", **MARK}], tools=[TOOL], thinking={"type": "adaptive"}, max_tokens=9
    )
    assert call.marked == ChatPrompt(
        messages=[{"role": "system", "content": "S"}, {"role": "user", "content": ""}],
        tools=call.prompt.tools,
        thinking=call.prompt.thinking,
    )
    first = decode(tools=[{**TOOL, **MARK}, {**TOOL, "name": "other"}])
    assert [tool.name for tool in first.marked.tools] == ["look_up"]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"max_tokens": None}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": "many"}, "max_tokens"),
        ({"temperature": 1.5}, "temperature"),
        ({"temperature": -0.1}, "temperature"),
        ({"top_p": 2}, "top_p"),
        ({"top_k": -1}, "top_k"),
        ({"top_k": 1.5}, "top_k"),
        ({"seed": -1}, "seed"),
        ({"stop_sequences": [""]}, "stop_sequences"),
        ({"stop_sequences": ["a"] * 17}, "stop_sequences"),
        ({"stop_sequences": ["a" * 257]}, "stop_sequences"),
        ({"stop_sequences": "a"}, "stop_sequences"),
        ({"tools": [{"name": "f"}]}, "tools[0].input_schema"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools[0].type"),
        ({"tools": [TOOL, {**TOOL, "name": "a b"}]}, "tools[1].name"),
        ({"tools": [{"input_schema": 1}]}, "tools[0].input_schema"),
        ({"tool_choice": {"type": "any"}}, "tool_choice"),
        ({"tool_choice": "auto"}, "tool_choice"),
        ({"tool_choice": {"type": "perhaps"}}, "tool_choice.type"),
        ({"tool_choice": {"type": "tool", "name": "g"}, "tools": [TOOL]}, "tool_choice.name"),
        ({"thinking": {"type": "enabled"}}, "thinking.budget_tokens"),
        ({"thinking": {"type": "enabled", "budget_tokens": 5}}, "thinking.budget_tokens"),
        ({"thinking": {"type": "between_tools"}}, "thinking.type"),
        ({"thinking": {"type": "adaptive", "display": "updates"}}, "thinking.display"),
        ({"output_config": {"effort": "huge"}}, "output_config.effort"),
        ({"output_config": {"format": {"type": "xml", "schema": {}}}}, "output_config.format.type"),
        ({"output_config": {"format": {"type": "json_schema"}}}, "output_config.format.schema"),
        ({"output_config": {"task_budget": {"type": "tokens", "total": 9}}}, "output_config.task_budget"),
        ({"output_format": {"type": "json_schema", "schema": []}}, "output_format.schema"),
        ({"output_format": FORMAT, "output_config": {"format": FORMAT}}, "output_format"),
        ({"mcp_servers": [{}]}, "mcp_servers"),
        ({"context_management": {"edits": []}}, "context_management"),
        ({"compaction": {"type": "x"}}, "compaction"),
        ({"container": "c"}, "container"),
        ({"diagnostics": {"previous_message_id": None}}, "diagnostics"),
        ({"fallbacks": [{}]}, "fallbacks"),
        ({"thread": {"id": "x"}}, "thread"),
        ({"service_tier": "priority"}, "service_tier"),
        ({"inference_geo": "us"}, "inference_geo"),
        ({"speed": "fast"}, "speed"),
        ({"session_id": 1}, "session_id"),
        ({"cache_control": {"type": "forever"}}, "cache_control.type"),
        ({"metadata": "me"}, "metadata"),
        ({"messages": []}, "messages"),
        ({"system": 5}, "system"),
    ],
)
def test_refusals_name_the_parameter(fields, param):
    with pytest.raises(InvalidRequest) as caught:
        decode(**fields)
    assert caught.value.param == param


@pytest.mark.parametrize(
    "fields",
    [
        {"thinking": {"type": "adaptive"}},
        {"output_config": {"format": FORMAT}},
        {"tools": [TOOL], "tool_choice": {"type": "any"}},
    ],
)
def test_a_reply_that_has_begun_can_neither_think_nor_be_json_nor_call(fields):
    messages = [USER, {"role": "assistant", "content": "Well"}]
    with pytest.raises(InvalidRequest) as caught:
        decode(messages=messages, **fields)
    assert caught.value.param == "messages[1]"


@pytest.mark.parametrize("missing", ["messages", "max_tokens"])
def test_required_fields(missing):
    body = {"messages": [USER], "max_tokens": 5}
    del body[missing]
    with pytest.raises(InvalidRequest, match=f"{missing} is required"):
        decode_message_request(json.dumps(body).encode())


def test_counting_needs_no_max_tokens_and_ignores_sampling():
    fields = {"messages": [USER], "system": "S", "tools": [TOOL], "thinking": {"type": "enabled", "budget_tokens": 9}}
    call = decode_count_request(json.dumps({**fields, "temperature": 9}).encode())
    assert call.prompt == decode(**fields, max_tokens=10).prompt
    with pytest.raises(InvalidRequest) as caught:
        decode_count_request(json.dumps({"messages": [USER], "tools": [{}]}).encode())
    assert caught.value.param == "tools[0].name"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
IDS = st.sampled_from(["toolu_1", "toolu_2"])
PLAIN_BLOCK = st.fixed_dictionaries({"type": st.just("text"), "text": st.text()})
CALL_BLOCK = st.fixed_dictionaries(
    {"type": st.just("tool_use"), "id": IDS, "name": st.just("f"), "input": st.dictionaries(st.text(), JSON)}
)
RESULT_BLOCK = st.fixed_dictionaries(
    {"type": st.just("tool_result"), "tool_use_id": IDS},
    optional={"content": st.text() | st.lists(PLAIN_BLOCK, max_size=2) | JSON, "is_error": st.booleans()},
)
ANY_BLOCK = st.fixed_dictionaries(
    {"type": st.sampled_from(["text", "thinking", "redacted_thinking", "image", "tool_use"]) | JSON},
    optional={"text": JSON, "thinking": JSON, "cache_control": st.just(MARK["cache_control"]) | JSON},
)
CONTENT = st.text() | st.lists(PLAIN_BLOCK | CALL_BLOCK | RESULT_BLOCK | ANY_BLOCK, max_size=3) | JSON
TURN = st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant", "system"]), "content": CONTENT})
# Conversations in which calls have their results more often than not.
ROUND = st.tuples(st.lists(CALL_BLOCK, max_size=2), st.lists(RESULT_BLOCK | PLAIN_BLOCK, max_size=3)).map(
    lambda pair: [{"role": "assistant", "content": pair[0]}, {"role": "user", "content": pair[1]}]
)
TURNS = st.lists(TURN, max_size=4) | st.lists(ROUND, max_size=2).map(lambda rounds: [USER, *chain(*rounds)])
FIELDS = {name: JSON for name in MessageRequest.__struct_fields__ if name not in ("messages", "max_tokens")}


@settings(max_examples=300, deadline=None)
@given(
    st.fixed_dictionaries(
        {"messages": TURNS | JSON, "max_tokens": st.just(5)},
        optional={**FIELDS, "system": CONTENT},
    )
)
def test_whatever_comes_is_read_or_refused(body):
    with contextlib.suppress(InvalidRequest):
        call = decode_message_request(json.dumps(body).encode())
        for prompt in filter(None, (call.prompt, call.marked)):
            json.dumps(prompt.messages)
            for message, following in pairwise(prompt.messages):
                assert message["role"] == following["role"] == "tool" or message["role"] != following["role"]
        assert call.prompt.prefill == call.prompt.prefill.rstrip()
