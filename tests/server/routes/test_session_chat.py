"""Turns that are computed ahead, and conversations by `generate`, over HTTP."""

from __future__ import annotations

import json

import httpx
import pytest

from kvtape.protocols.sse import SseDecoder
from kvtape.server import create_app
from tests.scripted import cut, scripted_engine
from tests.serving import push, running

ASK = [{"role": "user", "content": "the system and the user"}]
CALL = '<tool_call>\n{"name": "look_up", "arguments": {"city": "Paris"}}\n</tool_call>'
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = [{"type": "function", "function": {"name": "look_up", "parameters": CITY}}]


def test_a_turn_is_computed_ahead(http, session):
    push(http, session)
    session_id = session.rpartition("/")[2]
    body = {"messages": ASK, "max_tokens": 4, "temperature": 9, "tool_choice": "unheard of", "n": 7}
    warmed = http.post(f"{session}/warm", json=body).json()
    assert set(warmed) == {
        "id", "object", "session_id", "finish_reason", "prompt_tokens", "cached_tokens", "prefix_cached_tokens",
        "data_version",
    }  # fmt: skip
    assert (warmed["object"], warmed["session_id"], warmed["data_version"]) == ("session.warm", session_id, 1)
    assert warmed["finish_reason"] == "warmed"
    assert warmed["prefix_cached_tokens"] <= warmed["cached_tokens"] < warmed["prompt_tokens"]
    again = http.post(f"{session}/warm", json=body).json()
    assert (again["finish_reason"], again["cached_tokens"]) == ("covered", warmed["prompt_tokens"])
    state = http.get(session).json()
    assert (state["data_version"], state["turns"], state["tokens"]) == (1, 0, state["data_end"])
    turn = {"messages": ASK, "max_tokens": 4, "session_id": session_id}
    usage = http.post("/v1/chat/completions", json=turn).json()["usage"]
    assert usage["prompt_tokens"] == warmed["prompt_tokens"]
    assert usage["prompt_tokens_details"]["cached_tokens"] >= warmed["prompt_tokens"] - 1


def test_refusals_of_warms(http, session):
    for body, code, param in [
        ({}, None, "messages"),
        ({"messages": ASK, "tools": [{}]}, None, "tools[0].function"),
        ({"messages": ASK, "reasoning_effort": "huge"}, None, "reasoning_effort"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, None, "messages[0].content[0].type"),
        ({"messages": [{"role": "user", "content": "x" * 2000}]}, "context_length_exceeded", "messages"),
    ]:
        response = http.post(f"{session}/warm", json=body)
        assert response.status_code == 400
        error = response.json()["error"]
        assert (error.get("code"), error["param"]) == (code, param)
    assert http.post("/v1/sessions/sess_none/warm", json={"messages": ASK}).status_code == 404


def test_a_conversation_goes_on_by_generate(http, session):
    body = {"messages": ASK, "max_tokens": 6, "ignore_eos": True}
    push(http, session)
    first = http.post(f"{session}/generate", json=body).json()
    state = http.get(session).json()
    assert (first["finish_reason"], first["n_tokens"], first["data_version"]) == ("length", 6, 2)
    assert first["total_tokens"] == first["pos_max"] + 1 == state["tokens"] == state["data_end"]
    assert (state["turns"], state["data_version"]) == (1, 2)
    assert "tool_calls" not in first
    messages = [*ASK, {"role": "assistant", "content": first["text"]}, {"role": "user", "content": "more"}]
    response = http.post(f"{session}/generate", json={**body, "messages": messages, "stream": True})
    *pieces, final = [json.loads(event.data) for event in SseDecoder().feed(response.content)]
    assert final.pop("done") is True
    assert "".join(piece["text"] for piece in pieces) == final["text"]
    assert all(piece["done"] is False and piece["token"] == piece["text"] for piece in pieces)
    assert first["total_tokens"] < pieces[0]["pos"] < final["total_tokens"]
    assert final["usage"]["prompt_tokens_details"]["cached_tokens"] >= first["total_tokens"] - 1


@pytest.fixture(scope="module")
def scripted(tmp_path_factory):
    path = tmp_path_factory.mktemp("scripted") / "scripted.gguf"
    broken = '<tool_call>\n{"name": "look_down", "arguments": {}}\n</tool_call>'
    replies = [cut(CALL, 1), cut("It is 21 °C."), cut(broken, 1)]
    with (
        scripted_engine(path, replies) as engine,
        running(create_app(engine)) as url,
        httpx.Client(base_url=url, timeout=60) as client,
    ):
        yield client


@pytest.mark.parametrize("stream", [False, True])
def test_tools(scripted, stream):
    made = scripted.post("/v1/sessions/init", json={"type": "ohlcv", "prompt": "be brief"}).json()["id"]
    path = f"/v1/sessions/{made}/generate"

    def turn(messages):
        response = scripted.post(path, json={"messages": messages, "tools": TOOLS, "stream": stream})
        assert response.status_code == 200, response.text
        if not stream:
            return [], response.json()
        *pieces, final = [json.loads(event.data) for event in SseDecoder().feed(response.content)]
        assert final.pop("done") is True
        return pieces, final

    messages = [{"role": "user", "content": "How warm is it in Paris?<|0|>"}]
    pieces, answer = turn(messages)
    assert (answer["text"], answer["finish_reason"]) == ("", "tool_calls")
    (call,) = answer["tool_calls"]
    assert call["function"] == {"name": "look_up", "arguments": '{"city": "Paris"}'}
    assert [piece["tool_call"] for piece in pieces] == [True] * stream
    assistant = {"role": "assistant", "content": "", "tool_calls": [call]}
    messages += [assistant, {"role": "tool", "tool_call_id": call["id"], "content": "21<|1|>"}]
    pieces, answer = turn(messages)
    assert (answer["text"], answer["finish_reason"]) == ("It is 21 °C.", "stop")
    assert "tool_calls" not in answer
    assert "".join(piece["text"] for piece in pieces) == ("It is 21 °C." if stream else "")
    state = scripted.get(f"/v1/sessions/{made}/state").json()
    assert state["turns"] == 2
    assert state["context_text"].count(CALL) == 1
    scripted.delete(f"/v1/sessions/{made}")


def test_calls_are_held_to_the_tools_that_there_are(scripted):
    made = scripted.post("/v1/sessions/init", json={"type": "ohlcv", "prompt": "be brief"}).json()["id"]
    messages = [{"role": "user", "content": "How warm is it in Paris?<|2|>"}]
    body = {"messages": messages, "tools": TOOLS, "max_tokens": 60}
    answer = scripted.post(f"/v1/sessions/{made}/generate", json=body).json()
    assert "look_down" not in answer["text"]
    assert all(call["function"]["name"] == "look_up" for call in answer.get("tool_calls", []))
    scripted.delete(f"/v1/sessions/{made}")
