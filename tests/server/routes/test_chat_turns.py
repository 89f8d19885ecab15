"""Turns of chats and messages in a session, over HTTP."""

from __future__ import annotations

import asyncio
import json
import socket

import pytest

from kvtape.protocols.sse import SseDecoder
from tests.serving import eventually, push

HEADER = "x-layerscale-session-id"
ASK = [{"role": "user", "content": "the system and the user"}]
CHAT = {"messages": ASK, "max_tokens": 8, "temperature": 0, "ignore_eos": True}
ROUTES = ["/v1/chat/completions", "/v1/messages"]


def chat(http, path, session_id, by_header=True, **fields):
    named = {} if by_header or session_id is None else {"session_id": session_id}
    headers = {HEADER: session_id} if by_header and session_id is not None else {}
    response = http.post(path, json={**CHAT, **fields, **named}, headers=headers)
    assert response.status_code == 200, response.text
    return response


def text_of(response):
    """Text of a reply of either dialect, streamed or not."""
    if response.headers["content-type"].startswith("text/event-stream"):
        frames = [json.loads(e.data) for e in SseDecoder().feed(response.content) if e.data != "[DONE]"]
        deltas = [frame["choices"][0]["delta"] for frame in frames if frame.get("choices")]
        deltas += [frame["delta"] for frame in frames if frame.get("type") == "content_block_delta"]
        return "".join(delta.get("content") or delta.get("text") or "" for delta in deltas)
    body = response.json()
    if "choices" in body:
        return body["choices"][0]["message"]["content"]
    return "".join(block["text"] for block in body["content"])


def cached(response):
    usage = response.json()["usage"]
    return usage.get("cache_read_input_tokens", usage.get("prompt_tokens_details", {}).get("cached_tokens"))


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("by_header", [False, True])
def test_a_conversation_in_a_session_is_the_same_without_one(http, session, path, stream, by_header):
    session_id = session.rpartition("/")[2]
    messages = []
    for n in range(3):
        messages.append({"role": "user", "content": f"{n} the system and the user"})
        fields = {"messages": messages, "stream": stream}
        bound = chat(http, path, session_id, **fields, by_header=by_header)
        system = {"system": "be brief"} if path == "/v1/messages" else {}
        whole = messages if system else [{"role": "system", "content": "be brief"}, *messages]
        alone = chat(http, path, None, **{**fields, "messages": whole}, **system)
        assert text_of(bound) == text_of(alone)
        state = http.get(session).json()
        assert (state["turns"], state["data_version"], state["busy"]) == (n + 1, n + 1, False)
        messages.append({"role": "assistant", "content": text_of(bound)})


@pytest.mark.parametrize("path", ROUTES)
def test_what_the_session_holds_is_not_computed_again(http, session, path):
    session_id = session.rpartition("/")[2]
    push(http, session)
    first = chat(http, path, session_id)
    held = http.get(session).json()
    assert held["data_count"] == 5
    more = [*ASK, {"role": "assistant", "content": text_of(first)}, {"role": "user", "content": "more"}]
    assert held["data_end"] - 1 <= cached(chat(http, path, session_id, messages=more)) <= held["data_end"]


def test_refusals(http, session):
    session_id = session.rpartition("/")[2]
    unknown = {HEADER: "sess_none"}
    for path in ROUTES:
        assert http.post(path, json=CHAT, headers=unknown).status_code == 404
        assert http.post(path, json={**CHAT, "session_id": "sess_none"}).status_code == 404
        assert http.post(path, json=CHAT, headers={HEADER: "no id!"}).status_code == 400
        both = http.post(path, json={**CHAT, "session_id": session_id}, headers=unknown)
        assert both.status_code == 400
        assert "session_id" in both.json()["error"]["message"]
        same = http.post(path, json={**CHAT, "session_id": session_id}, headers={HEADER: session_id})
        assert same.status_code == 200
    several = http.post(ROUTES[0], json={**CHAT, "n": 2, "session_id": session_id})
    assert (several.status_code, several.json()["error"]["param"]) == (400, "n")
    raw = http.post("/v1/completions", json={"prompt": "x"}, headers={HEADER: session_id})
    assert (raw.status_code, raw.json()["error"]["param"]) == (400, HEADER)
    counted = http.post("/v1/messages/count_tokens", json={**CHAT, "session_id": "sess_none"}, headers=unknown)
    assert counted.json()["input_tokens"] > 0


@pytest.mark.parametrize("stream", [False, True])
def test_a_conversation_that_does_not_fit_leaves_the_session_as_it_was(http, session, stream):
    session_id = session.rpartition("/")[2]
    before = http.get(session).json()
    body = {**CHAT, "messages": [{"role": "user", "content": "x" * 1600}], "stream": stream, "session_id": session_id}
    error = http.post(ROUTES[0], json=body)
    assert (error.status_code, error.json()["error"]["code"]) == (400, "context_length_exceeded")
    assert error.json()["error"]["param"] == "messages"
    error = http.post(ROUTES[1], json=body)
    assert error.status_code == 400
    assert error.json()["error"]["message"].startswith("prompt is too long: ")
    after = http.get(session).json()
    assert {**after, "last_used": 0, "last_used_at": 0} == {**before, "last_used": 0, "last_used_at": 0}
    chat(http, ROUTES[0], session_id)


@pytest.mark.parametrize("stream", [False, True])
def test_a_reader_that_leaves_leaves_the_session_free(app, http, session, stream):
    session_id = session.rpartition("/")[2]
    body = json.dumps({**CHAT, "max_tokens": 1400, "stream": stream})
    head = f"POST {ROUTES[0]} HTTP/1.1\r\nhost: x\r\n{HEADER}: {session_id}\r\ncontent-length: {len(body)}\r\n\r\n"
    with app.state.runtime.engine.together():  # no step, so the turn cannot end before its reader leaves
        with socket.create_connection((http.base_url.host, http.base_url.port)) as reader:
            reader.sendall((head + body).encode())
            eventually(lambda: http.get(session).json()["busy"])
        eventually(lambda: not http.get(session).json()["busy"])
    alone = text_of(chat(http, ROUTES[0], session_id))
    assert http.get(session).json()["turns"] == 1
    assert alone == text_of(chat(http, ROUTES[0], session_id))


def test_the_second_generation_is_told_that_a_session_is_busy(app, http):
    made = http.post("/v1/sessions", json={}).json()["id"]
    one = f"/v1/sessions/{made}"
    foreground = app.state.runtime.sessions.get(made)._foreground
    asyncio.run(foreground.acquire())  # as a turn does
    for method, path in [*(("POST", path) for path in ROUTES), ("POST", f"{one}/warm"), ("DELETE", one)]:
        assert http.request(method, path, json=CHAT, headers={HEADER: made}).status_code == 409
    foreground.release()
    chat(http, ROUTES[0], made)
    http.delete(one)
