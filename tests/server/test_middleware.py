"""Request counters, and what becomes of clients that leave."""

from __future__ import annotations

import json
import socket
from urllib.parse import urlsplit

import httpx
import pytest

from tests.serving import eventually

LONG = {"max_tokens": 1900, "ignore_eos": True}


def test_requests_are_counted_by_their_end(http):
    before = http.get("/health").json()
    http.get("/v1/models")
    http.get("/nothing")
    http.get("/metrics")
    after = http.get("/health").json()
    assert after["requests_started"] - before["requests_started"] == 2
    assert after["requests_ok"] - before["requests_ok"] == 1
    assert after["requests_failed"] - before["requests_failed"] == 1
    assert after["connections"] == 0


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("route", ["chat", "generate"])
def test_a_client_that_leaves_cancels_its_generation(url, http, tiny_engine, route, stream):
    if route == "chat":
        path, body = "/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}]}
    else:
        session = http.post("/v1/sessions/init", json={"type": "ohlcv", "prompt": "x"}).json()
        path, body = f"/v1/sessions/{session['id']}/generate", {"prompt": "up?"}
    before = http.get("/health").json()
    content = json.dumps({**body, **LONG, "stream": stream}).encode()
    host = urlsplit(url)
    with socket.create_connection((host.hostname, host.port)) as connection:
        head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(content)}\r\n\r\n"
        connection.sendall(head.encode() + content)
        eventually(lambda: http.get("/health").json()["generated_tokens"] > before["generated_tokens"])
    eventually(lambda: http.get("/health").json()["requests_cancelled"] == before["requests_cancelled"] + 1)
    eventually(lambda: tiny_engine.stats().running == 0)
    after = http.get("/health").json()
    assert after["generated_tokens"] - before["generated_tokens"] < LONG["max_tokens"]
    if route == "generate":  # and the session is free again
        assert http.post(path, json={"prompt": "up?", "max_tokens": 1}).status_code == 200
        http.delete(f"/v1/sessions/{session['id']}")


def test_an_event_stream_that_is_left_is_forgotten(http, app):
    session_id = http.post("/v1/sessions/init", json={"type": "ohlcv"}).json()["id"]
    session = app.state.runtime.sessions.get(session_id)
    with http.stream("GET", f"/v1/sessions/{session_id}/events") as response:
        pieces = response.iter_bytes()  # by name: httpx ends the response with its iterator
        assert next(pieces).startswith(b"event: connected\n")
        assert len(session.hub) == 1
    eventually(lambda: len(session.hub) == 0)


def test_httpx_sees_no_error_from_a_finished_stream(http):
    body = {"messages": [{"role": "user", "content": "x"}], "max_tokens": 3, "stream": True}
    with http.stream("POST", "/v1/chat/completions", json=body) as response:
        assert isinstance(response, httpx.Response)
        assert b"".join(response.iter_bytes()).endswith(b"data: [DONE]\n\n")
