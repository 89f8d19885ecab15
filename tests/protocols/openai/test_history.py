"""Messages on the wire to those of a prompt."""

from __future__ import annotations

import json

import msgspec
import pytest

from kvtape.errors import InvalidRequest
from kvtape.protocols.openai.history import read_messages
from kvtape.protocols.openai.request_models import InputMessage
from kvtape.protocols.requests import decode_request

USER = {"role": "user", "content": "Hi"}


class Conversation(msgspec.Struct):
    messages: list[InputMessage]


def read(*messages):
    return read_messages(decode_request(json.dumps({"messages": messages}).encode(), Conversation).messages)


def call(name="f", arguments="{}", **fields):
    return {"type": "function", "function": {"name": name, "arguments": arguments}, **fields}


def assistant(*calls, **fields):
    return {"role": "assistant", "content": None, "tool_calls": list(calls), **fields}


def test_content_forms():
    parts = [{"type": "text", "text": "a"}, {"text": "b"}]
    messages = read({"role": "system", "content": parts}, {"role": "user"}, {"role": "assistant", "content": None})
    assert [message["content"] for message in messages] == ["ab", "", ""]


def test_a_developer_is_system():
    assert read({"role": "developer", "content": "be brief"}) == [{"role": "system", "content": "be brief"}]


def test_what_the_client_dumps_of_a_reply_is_read():
    dumped = {
        "role": "assistant", "content": "x", "refusal": None, "annotations": None, "audio": None,
        "function_call": None, "tool_calls": None,
    }  # fmt: skip
    assert read(USER, dumped)[1] == {"role": "assistant", "content": "x"}


def test_a_call_and_its_result():
    arguments = '{"city":  "Paris"}'
    messages = read(
        USER,
        assistant(call("weather", arguments, id="call_a"), call("clock", "", id="call_b"), content="I will look"),
        {"role": "tool", "tool_call_id": "call_b", "content": [{"type": "text", "text": "noon"}]},
        {"role": "tool", "tool_call_id": "call_a", "content": "sunny"},
    )
    assert messages == [
        USER,
        {
            "role": "assistant",
            "content": "I will look",
            "tool_calls": [call("weather", arguments, id="call_a"), call("clock", "{}", id="call_b")],
        },
        {"role": "tool", "content": "noon", "tool_call_id": "call_b", "name": "clock"},
        {"role": "tool", "content": "sunny", "tool_call_id": "call_a", "name": "weather"},
    ]


def test_ids_that_are_not_there_go_by_order():
    messages = read(
        USER,
        assistant({"function": {"name": "f"}}, call("g", {"x": "é"})),
        {"role": "ipython", "content": "1"},
        {"role": "tool", "content": "2", "tool_call_id": ""},
    )
    calls = messages[1]["tool_calls"]
    assert [item["function"]["arguments"] for item in calls] == ["{}", '{"x": "é"}']
    assert [message["tool_call_id"] for message in messages[2:]] == [item["id"] for item in calls]
    assert [message["name"] for message in messages[2:]] == ["f", "g"]


def test_the_older_function_call():
    function = {"name": "f", "arguments": '{"a": 1}'}
    messages = read(
        USER, {"role": "assistant", "function_call": function}, {"role": "function", "name": "f", "content": "2"}
    )
    (made,) = messages[1]["tool_calls"]
    assert made == {"id": made["id"], "type": "function", "function": function}
    assert messages[2] == {"role": "tool", "content": "2", "tool_call_id": made["id"], "name": "f"}


def test_an_id_may_come_again_once_it_is_answered():
    turn = (assistant(call(id="call_0")), {"role": "tool", "tool_call_id": "call_0", "content": ""})
    assert len(read(USER, *turn, *turn)) == 5


def test_reasoning_and_refusals_of_earlier_turns():
    both = {"role": "assistant", "content": "x", "reasoning": "new", "reasoning_content": "old"}
    assert read(both) == [{"role": "assistant", "content": "x", "reasoning_content": "new"}]
    assert read({"role": "assistant", "content": "x", "reasoning_content": "old"})[0]["reasoning_content"] == "old"
    assert read({"role": "assistant", "refusal": "no"}) == [{"role": "assistant", "content": "no"}]
    parts = [{"type": "refusal", "refusal": "no"}]
    assert read({"role": "assistant", "content": parts}) == [{"role": "assistant", "content": "no"}]


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([], "messages"),
        ([USER, {"role": "robot"}], "messages[1].role"),
        ([{"role": "user", "content": [{"type": "image_url"}]}], "messages[0].content[0].type"),
        ([{"role": "user", "content": [{"type": "input_audio"}]}], "messages[0].content[0].type"),
        ([{"role": "user", "content": [{"type": "refusal", "refusal": "x"}]}], "messages[0].content[0].type"),
        ([{"role": "user", "content": [{"type": "text"}]}], "messages[0].content[0].text"),
        ([{"role": "user", "content": 5}], "messages[0].content"),
        ([{"role": "assistant", "audio": {"id": "a"}}], "messages[0].audio"),
        ([{"role": "user", "tool_calls": [call(id="a")]}], "messages[0].tool_calls"),
        ([{"role": "user", "reasoning": "x"}], "messages[0].reasoning"),
        ([{"role": "user", "tool_call_id": "a"}], "messages[0].tool_call_id"),
        ([assistant({})], "messages[0].tool_calls[0].function"),
        ([assistant({"type": "custom", "custom": {}})], "messages[0].tool_calls[0].type"),
        ([assistant({"function": {}})], "messages[0].tool_calls[0].function.name"),
        ([assistant(call(id="a"), call(id="a"))], "messages[0].tool_calls[1].id"),
        ([assistant(call(id="a"), function_call={"name": "f"})], "messages[0].function_call"),
        (
            [{"role": "assistant", "function_call": {"name": "f", "arguments": "x"}}],
            "messages[0].function_call.arguments",
        ),
        ([{"role": "tool", "content": "x"}], "messages[0].tool_call_id"),
        ([assistant(call(id="a")), {"role": "tool", "tool_call_id": "b"}], "messages[1].tool_call_id"),
        ([assistant(call(id="a")), *[{"role": "tool", "tool_call_id": "a"}] * 2], "messages[2].tool_call_id"),
        ([assistant(call(id="a")), {"role": "function", "content": "x"}], "messages[1].name"),
        ([assistant(call(id="a")), {"role": "function", "name": "g", "content": "x"}], "messages[1].name"),
    ],
)  # fmt: skip
def test_refusals_name_the_path(messages, param):
    with pytest.raises(InvalidRequest) as caught:
        read(*messages)
    assert caught.value.param == param


@pytest.mark.parametrize(
    "arguments",
    ["{", '{"a": 1', "[]", "5", '"x"', "null", '{"a": NaN}', "{}{}", "[" * 100_000, '{"a": %s}' % ("1" * 5000), 5, [1]],
)
def test_arguments_are_an_object_as_text(arguments):
    with pytest.raises(InvalidRequest) as caught:
        read(assistant(call(arguments=arguments, id="a")))
    assert caught.value.param == "messages[0].tool_calls[0].function.arguments"
