"""Replies as LayerScale's clients read them, over HTTP, from a model that recites."""

from __future__ import annotations

import json

import httpx
import pytest

from kvtape.server import create_app
from tests.scripted import cut, scripted_engine
from tests.serving import running

ARGUMENTS = '{"city": "Zürich", "days": [1, 2]}'
REPLIES = (
    "<think>\nWarm?\n</think>\n\n"
    f'Let me see.<tool_call>\n{{"name": "weather", "arguments": {ARGUMENTS}}}\n</tool_call>',
    '<tool_call>\n{"name": "weather", "arguments": {"city": "Par"is"}}\n</tool_call>',
    "<think>\nI never come to an end",
)
OLD, NEW, OTHER = "layerscale-python/0.7.0", "layerscale-python/0.8.0", "anthropic/2.0"


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    path = tmp_path_factory.mktemp("scripted") / "scripted.gguf"
    with (
        scripted_engine(path, [cut(text) for text in REPLIES]) as engine,
        running(create_app(engine)) as url,
        httpx.Client(base_url=url) as client,
    ):
        yield client


def body(reply, **fields):
    schema = {"type": "object", "properties": {}}
    tools = [{"name": "weather", "input_schema": schema}]
    return {"messages": [{"role": "user", "content": f"<|{reply}|>"}], "tools": tools, "max_tokens": 400, **fields}


def events(client, agent, reply, **fields):
    got = client.post("/v1/messages", json=body(reply, stream=True, **fields), headers={"user-agent": agent})
    return [json.loads(line[6:]) for line in got.text.splitlines() if line.startswith("data: ")]


def deltas(seen, kind):
    found = [event["delta"] for event in seen if event["type"] == "content_block_delta"]
    return [delta for delta in found if delta["type"] == kind]


@pytest.mark.parametrize(("agent", "thinks", "is_whole"), [(OLD, False, True), (NEW, True, True), (OTHER, True, False)])
def test_blocks_of_a_message(client, agent, thinks, is_whole):
    seen = events(client, agent, 0)
    blocks = [event["content_block"]["type"] for event in seen if event["type"] == "content_block_start"]
    assert blocks == [*["thinking"] * thinks, "text", "tool_use"]
    assert bool(deltas(seen, "thinking_delta")) == thinks
    pieces = [delta["partial_json"] for delta in deltas(seen, "input_json_delta")]
    assert json.loads("".join(pieces)) == json.loads(ARGUMENTS)
    assert (len(pieces) == 1) == is_whole
    plain = client.post("/v1/messages", json=body(0), headers={"user-agent": agent}).json()
    assert [block["type"] for block in plain["content"]] == blocks
    assert plain["content"][-1]["input"] == json.loads(ARGUMENTS)
    assert plain["usage"]["output_tokens"] == seen[-2]["usage"]["output_tokens"]


@pytest.mark.parametrize(("agent", "is_whole"), [(OLD, True), (NEW, True), (OTHER, False)])
def test_calls_of_a_chat(client, agent, is_whole):
    tools = [{"type": "function", "function": {"name": "weather"}}]
    request = body(0, tools=tools, stream=True)
    got = client.post("/v1/chat/completions", json=request, headers={"user-agent": agent})
    chunks = [json.loads(line[6:]) for line in got.text.splitlines() if line.startswith("data: {")]
    found = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]
    opener, *pieces = [call["function"] for delta in found for call in delta.get("tool_calls", [])]
    assert opener == {"name": "weather", "arguments": ""}
    assert json.loads("".join(piece["arguments"] for piece in pieces)) == json.loads(ARGUMENTS)
    assert (len(pieces) == 1) == is_whole
    assert "".join(delta.get("reasoning") or "" for delta in found) == "Warm?"


@pytest.mark.parametrize(("reply", "fields"), [(1, {}), (0, {"max_tokens": 40}), (2, {})])
def test_what_is_cut_or_broken_comes_to_the_same(client, reply, fields):
    whole, split = events(client, NEW, reply, **fields), events(client, OTHER, reply, **fields)
    for kind in ("input_json_delta", "text_delta", "thinking_delta"):
        texts = ["".join(next(reversed(delta.values())) for delta in deltas(seen, kind)) for seen in (whole, split)]
        assert texts[0] == texts[1]
    assert whole[-2] == split[-2]
