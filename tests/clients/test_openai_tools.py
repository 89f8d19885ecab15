"""The published Python client `openai` against our server: tools, formats and reasoning."""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path

import openai
import pydantic
import pytest

from kvtape import Engine
from kvtape.server import create_app
from tests.clients.openai_replies import assert_stream_is_plain, counts, plain_choices
from tests.serving import running

ASK = [{"role": "user", "content": "the system and the user"}]


class Unit(StrEnum):
    CELSIUS = "celsius"
    KELVIN = "kelvin"


class LookUp(pydantic.BaseModel):
    """Looks it up."""

    unit: Unit
    sure: bool


class Add(pydantic.BaseModel):
    """Adds nothing."""


TOOLS = [openai.pydantic_function_tool(LookUp, name="look_up"), openai.pydantic_function_tool(Add, name="add-2")]
NAMED = {"type": "function", "function": {"name": "look_up"}}


@pytest.fixture
def fields(model):
    return {"model": model, "messages": ASK, "seed": 1, "max_tokens": 400}


def test_a_forced_call_and_its_result(client, fields):
    reply = client.chat.completions.create(**fields, tools=TOOLS, tool_choice=NAMED)
    (choice,) = reply.choices
    assert choice.finish_reason == "tool_calls"
    assert (choice.message.content, choice.message.refusal) == (None, None)
    (call,) = choice.message.tool_calls
    assert (call.type, call.function.name) == ("function", "look_up")
    LookUp.model_validate_json(call.function.arguments)
    result = {"role": "tool", "tool_call_id": call.id, "content": "warm"}
    fields |= {"messages": [*ASK, choice.message, result], "max_tokens": 4}
    again = client.chat.completions.create(**fields, tools=TOOLS)
    assert again.usage.prompt_tokens > reply.usage.prompt_tokens
    untold = client.chat.completions.create(**fields, tools=TOOLS, tool_choice="none")
    assert untold.choices[0].message.tool_calls is None


@pytest.mark.parametrize("choice", ["required", NAMED])
@pytest.mark.parametrize("n", [1, 3])
def test_a_streamed_call_is_the_plain_one(client, fields, choice, n):
    fields |= {"tools": TOOLS, "tool_choice": choice, "n": n, "logprobs": True, "parallel_tool_calls": False}
    plain = assert_stream_is_plain(client.chat.completions.create, fields)
    for item in plain.choices:
        (call,) = item.message.tool_calls
        assert call.function.name in ("look_up", "add-2")
        json.loads(call.function.arguments)
    n_entries = sum(len(item.logprobs.content) for item in plain.choices)
    assert n_entries == plain.usage.completion_tokens


def test_the_stream_helper_tells_arguments_as_they_come(client, fields):
    fields |= {"tools": TOOLS, "tool_choice": NAMED, "logprobs": True}
    plain = client.chat.completions.create(**fields)
    pieces, kinds = [], set()
    with client.chat.completions.stream(**fields, stream_options={"include_usage": True}) as stream:
        for event in stream:
            kinds.add(event.type)
            if event.type == "tool_calls.function.arguments.delta":
                assert event.name == "look_up"
                pieces.append(event.arguments_delta)
                assert event.arguments == "".join(pieces)
        final = stream.get_final_completion()
    (call,) = final.choices[0].message.tool_calls
    assert call.function.arguments == "".join(pieces)
    assert isinstance(call.function.parsed_arguments, LookUp)
    assert {
        "chunk", "tool_calls.function.arguments.delta", "tool_calls.function.arguments.done",
        "logprobs.content.delta", "logprobs.content.done",
    } == kinds  # fmt: skip
    assert plain_choices(final)[0][1:] == plain_choices(plain)[0][1:]
    assert counts(final.usage) == counts(plain.usage)


def test_calls_are_parsed(client, fields):
    reply = client.chat.completions.parse(**fields, tools=TOOLS, tool_choice=NAMED)
    assert isinstance(reply.choices[0].message.tool_calls[0].function.parsed_arguments, LookUp)


def test_only_allowed_tools_are_called(client, fields):
    allowed = {"mode": "required", "tools": [{"type": "function", "function": {"name": "add-2"}}]}
    choice = {"type": "allowed_tools", "allowed_tools": allowed}
    reply = client.chat.completions.create(**fields, tools=TOOLS, tool_choice=choice, parallel_tool_calls=False)
    assert [call.function.name for call in reply.choices[0].message.tool_calls] == ["add-2"]


def test_the_older_function_call(client, fields):
    functions = [{"name": "look_up", "parameters": {**LookUp.model_json_schema(), "additionalProperties": False}}]
    fields |= {"functions": functions, "function_call": {"name": "look_up"}}
    (choice,) = assert_stream_is_plain(client.chat.completions.create, fields).choices
    assert choice.finish_reason == "function_call"
    LookUp.model_validate_json(choice.message.function_call.arguments)
    messages = [*ASK, choice.message, {"role": "function", "name": "look_up", "content": "warm"}]
    assert client.chat.completions.create(**{**fields, "messages": messages}).choices[0].message.function_call


def test_a_call_that_is_cut_off_is_not_called_whole(client, fields):
    fields |= {"tools": TOOLS, "tool_choice": NAMED}
    whole = client.chat.completions.create(**fields)
    fields["max_tokens"] = whole.usage.completion_tokens - 2
    (choice,) = assert_stream_is_plain(client.chat.completions.create, fields).choices
    assert choice.finish_reason == "length"
    arguments = choice.message.tool_calls[0].function.arguments
    assert whole.choices[0].message.tool_calls[0].function.arguments.startswith(arguments)
    with pytest.raises(json.JSONDecodeError):
        json.loads(arguments)
    with pytest.raises(openai.LengthFinishReasonError):
        client.chat.completions.parse(**fields)


def test_an_answer_that_follows_a_schema(client, fields):
    fields["response_format"] = LookUp
    for parse in (client.chat.completions.parse, client.beta.chat.completions.parse):
        message = parse(**fields).choices[0].message
        assert isinstance(message.parsed, LookUp)
    with client.chat.completions.stream(**fields) as stream:
        kinds = {event.type for event in stream}
        assert stream.get_final_completion().choices[0].message.parsed == message.parsed
    assert {"content.delta", "content.done"} <= kinds


async def test_the_asynchronous_client(async_client, fields):
    chat = async_client.chat.completions
    parsed = (await chat.parse(**fields, response_format=LookUp)).choices[0].message.parsed
    async with chat.stream(**fields, response_format=LookUp) as stream:
        assert (await stream.get_final_completion()).choices[0].message.parsed == parsed
    async with chat.stream(**fields, tools=TOOLS, tool_choice=NAMED) as stream:
        names = {event.name async for event in stream if event.type == "tool_calls.function.arguments.done"}
    assert names == {"look_up"}


@pytest.mark.parametrize(
    ("wanted", "check"),
    [
        ({"response_format": {"type": "json_object"}}, lambda text: isinstance(json.loads(text), dict)),
        ({"extra_body": {"regex": "(the|a) [0-9]{3}"}}, lambda text: text[-3:].isdecimal()),
        ({"extra_body": {"grammar": 'start: "yes" | "no"'}}, lambda text: text in ("yes", "no")),
    ],
)
def test_other_formats(client, fields, wanted, check):
    fields |= {"temperature": 0, "max_tokens": 800, **wanted}
    reply = assert_stream_is_plain(client.chat.completions.create, fields)
    assert check(reply.choices[0].message.content) or reply.choices[0].finish_reason == "length"


SCHEMA = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "nothing"}}}


@pytest.mark.parametrize(
    ("wanted", "param"),
    [
        ({"response_format": SCHEMA}, "response_format.json_schema.schema"),
        ({"extra_body": {"regex": "(("}}, "regex"),
        ({"extra_body": {"grammar": "start: nowhere"}}, "grammar"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_what_cannot_be_enforced_is_refused_before_a_stream(client, fields, wanted, param, stream):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(**fields, **wanted, stream=stream)
    assert caught.value.param == param


@contextmanager
def client_of(path):
    """Serve a model file."""
    with (
        Engine(path, kv_memory="256M") as engine,
        running(create_app(engine)) as url,
        openai.OpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0) as client,
    ):
        yield client


@pytest.mark.model
def test_a_real_model(model_path):
    fields = {"model": "any", "messages": [{"role": "user", "content": "Is it warm in Rome?"}], "temperature": 0}
    with client_of(model_path) as client:
        chat = client.chat.completions
        (choice,) = assert_stream_is_plain(chat.create, {**fields, "tools": TOOLS, "tool_choice": NAMED}).choices
        (call,) = choice.message.tool_calls
        LookUp.model_validate_json(call.function.arguments)
        result = {"role": "tool", "tool_call_id": call.id, "content": "31 degrees"}
        again = {**fields, "messages": [*fields["messages"], choice.message, result], "max_tokens": 20}
        reply = chat.create(**again)
        assert reply.choices[0].message.content
        assert reply.usage.prompt_tokens_details.cached_tokens > 0
        assert isinstance(chat.parse(**fields, response_format=LookUp).choices[0].message.parsed, LookUp)


WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the current weather in a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


@pytest.mark.skipif("KVTAPE_TEST_MODELS" not in os.environ, reason="KVTAPE_TEST_MODELS is not set")
def test_qwen_calls_a_tool_where_it_helps():
    path = Path(os.environ["KVTAPE_TEST_MODELS"]) / "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf"
    messages = [{"role": "user", "content": "What is the weather in Rome?"}]
    fields = {"model": "any", "messages": messages, "tools": [WEATHER], "temperature": 0, "max_tokens": 200}
    with client_of(path) as client:
        (choice,) = assert_stream_is_plain(client.chat.completions.create, {**fields, "logprobs": True}).choices
        assert choice.finish_reason == "tool_calls"
        (call,) = choice.message.tool_calls
        assert (call.function.name, json.loads(call.function.arguments)) == ("get_weather", {"city": "Rome"})
        messages += [choice.message, {"role": "tool", "tool_call_id": call.id, "content": "Sunny, 31 degrees."}]
        answer = client.chat.completions.create(**fields, tool_choice="none")
        assert answer.choices[0].finish_reason == "stop"
        assert answer.choices[0].message.content
