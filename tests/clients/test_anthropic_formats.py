"""The published Python client `anthropic` against our server: answers of a schema, and calls that must be made.

The model is random: whatever is well formed here is so because it had to be.
"""

from __future__ import annotations

from typing import Literal

import anthropic
import pytest
from pydantic import BaseModel

from tests.clients.npm import run_node_tests

HELLO = {"role": "user", "content": "the system and the user"}
REQUEST = {"model": "any", "max_tokens": 300, "messages": [HELLO]}
SWITCH = {
    "name": "switch",
    "description": "Switches a lamp.",
    "strict": True,
    "input_schema": {
        "type": "object",
        "properties": {"on": {"type": "boolean"}, "room": {"enum": ["hall", "attic"]}},
        "required": ["on", "room"],
        "additionalProperties": False,
    },
}
STOP = {"name": "stop", "strict": True, "input_schema": {"type": "object", "additionalProperties": False}}


class Weather(BaseModel):
    """What an answer is about."""

    city: Literal["Paris", "Rome"]
    warm: bool
    sky: list[Literal["blue", "grey"]]


@pytest.fixture
def client(tiny_url):
    with anthropic.Anthropic(base_url=tiny_url, api_key="LS-test", max_retries=0) as client:
        yield client


@pytest.fixture
async def async_client(tiny_url):
    async with anthropic.AsyncAnthropic(base_url=tiny_url, api_key="LS-test", max_retries=0) as client:
        yield client


def shown(message):
    return (
        [block.to_dict() | {"id": None} for block in message.content],
        message.stop_reason,
        message.usage.output_tokens,
    )


def calling(choice, seed=0, **fields):
    return {**REQUEST, "tools": [SWITCH, STOP], "tool_choice": choice, "extra_body": {"seed": seed}, **fields}


def check_calls(message):
    for used in message.content:
        assert used.type == "tool_use"
        if used.name == "switch":
            assert set(used.input) == {"on", "room"}
            assert used.input["on"] in (True, False)
            assert used.input["room"] in ("hall", "attic")
        else:
            assert (used.name, used.input) == ("stop", {})


@pytest.mark.parametrize("name", ["switch", "stop"])
def test_a_tool_that_must_be_called(client, name):
    choice = {"type": "tool", "name": name, "disable_parallel_tool_use": True}
    message = client.messages.create(**calling(choice))
    check_calls(message)
    assert [used.name for used in message.content] == [name]
    assert message.stop_reason == "tool_use"
    result = {"type": "tool_result", "tool_use_id": message.content[0].id, "content": "done"}
    messages = [HELLO, message.to_param(), {"role": "user", "content": [result]}]
    assert client.messages.create(**calling({"type": "auto"}, messages=messages)).usage.output_tokens > 0


def test_any_tool_streamed_equals_plain(client):
    names = set()
    for seed in range(25):
        request = calling({"type": "any", "disable_parallel_tool_use": bool(seed % 2)}, seed)
        plain = client.messages.create(**request)
        with client.messages.stream(**request) as stream:
            assert shown(stream.get_final_message()) == shown(plain)
        if plain.stop_reason == "tool_use":
            check_calls(plain)
            assert len(plain.content) == 1 or not seed % 2
            names |= {used.name for used in plain.content}
    assert names == {"switch", "stop"}


def test_parse(client):
    message = client.messages.parse(**REQUEST, output_format=Weather)
    assert isinstance(message.parsed_output, Weather)
    assert [block.type for block in message.content] == ["text"]
    assert message.stop_reason == "end_turn"
    with client.messages.stream(**REQUEST, output_format=Weather, extra_body={"seed": 3}) as stream:
        streamed = stream.get_final_message()
    plain = client.messages.parse(**REQUEST, output_format=Weather, extra_body={"seed": 3})
    assert streamed.parsed_output == plain.parsed_output
    assert isinstance(client.beta.messages.parse(**REQUEST, output_format=Weather).parsed_output, Weather)


async def test_parse_asynchronously(async_client):
    message = await async_client.messages.parse(**REQUEST, output_format=Weather)
    assert isinstance(message.parsed_output, Weather)
    async with async_client.messages.stream(**calling({"type": "any"})) as stream:
        check_calls(await stream.get_final_message())


@pytest.mark.parametrize(
    "fields",
    [
        {"output_config": {"format": {"type": "json_schema", "schema": {"type": "nothing"}}}},
        calling(
            {"type": "any"}, tools=[{**STOP, "input_schema": {"type": "object", "properties": {"a": {"type": 1}}}}]
        ),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_schema_that_is_none(client, fields, stream):
    with pytest.raises(anthropic.BadRequestError):
        client.messages.create(**{**REQUEST, **fields}, stream=stream)
    assert client.messages.create(**REQUEST).usage.output_tokens > 0


def test_the_client_of_npm(tiny_url, request):
    cache = request.config.cache
    run_node_tests("anthropic", "formats.test.mjs", cache, KVTAPE_URL=tiny_url, KVTAPE_KEY="LS-test")
