"""Messages over HTTP."""

from __future__ import annotations

import json
import socket
from itertools import pairwise
from urllib.parse import urlsplit

import httpx
import pytest

from kvtape.errors import EngineFailed, InvalidRequest
from kvtape.protocols.sse import SseDecoder
from kvtape.server import create_app, responses
from kvtape.server.limits import BodyLimits
from kvtape.types import TokenEvent
from tests.serving import eventually, running

USER = {"role": "user", "content": "the system"}
BODY = {"messages": [USER], "max_tokens": 8, "temperature": 0, "ignore_eos": True}
VERSION = {"anthropic-version": "2023-06-01"}


def create(http, **fields):
    response = http.post("/v1/messages", json={**BODY, **fields}, headers=VERSION)
    assert response.status_code == 200, response.text
    return response.json()


def stream(http, *, headers=VERSION, **fields):
    response = http.post("/v1/messages", json={**BODY, "stream": True, **fields}, headers=headers)
    assert response.headers["content-type"].startswith("text/event-stream"), response.text
    events = SseDecoder().feed(response.content)
    payloads = [json.loads(event.data) for event in events]
    assert [event.event for event in events] == [payload["type"] for payload in payloads]
    return payloads


def gathered(events):
    """The message that a stream adds up to."""
    message, end = events[0]["message"], events[-2]
    text = "".join(event["delta"]["text"] for event in events if event["type"] == "content_block_delta")
    content = [{"type": "text", "text": text}] if text else []
    return {**message, "content": content, **end["delta"], "usage": {**message["usage"], **end["usage"]}}


def comparable(message):
    """What two runs of a request have in common: not the id, nor how much of the prompt was there already."""
    usage = message["usage"]
    prompt = usage["input_tokens"] + usage["cache_read_input_tokens"] + usage["cache_creation_input_tokens"]
    return {**message, "id": None, "usage": (prompt, usage["output_tokens"])}


def text_of(message):
    return "".join(block["text"] for block in message["content"])


def test_a_plain_reply(http):
    message = create(http)
    assert message["id"].startswith("msg_")
    assert (message["type"], message["role"]) == ("message", "assistant")
    assert message["model"] == http.get("/v1/models").json()["data"][0]["id"]
    assert (message["stop_reason"], message["stop_sequence"]) == ("max_tokens", None)
    assert message["usage"]["output_tokens"] == 8
    assert text_of(message)


def test_the_order_of_a_streams_events(http):
    kinds = [event["type"] for event in stream(http)]
    assert kinds[:3] == ["message_start", "content_block_start", "ping"]
    assert set(kinds[3:-3]) == {"content_block_delta"}
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]


def test_a_client_without_a_version_gets_no_ping(http):
    assert "ping" not in [event["type"] for event in stream(http, headers={})]


def random_fields(rng):
    words = ["the", " system", " user", "é", "\n", "☃", " and"]
    fields = {
        "messages": [{"role": "user", "content": "".join(rng.choice(words, size=rng.integers(1, 30)))}],
        "max_tokens": int(rng.integers(1, 24)),
        "temperature": float(rng.choice([0.0, 0.7, 1.0])),
        "seed": int(rng.integers(1 << 30)),
        "top_k": int(rng.choice([0, 20])),
        "ignore_eos": bool(rng.integers(2)),
    }
    if rng.integers(2):
        fields["system"] = "the system"
    if rng.integers(2):
        fields["stop_sequences"] = [chr(int(code)) for code in rng.integers(0x20, 0x7F, size=6)]
    if rng.integers(3) == 0:
        fields["messages"].append({"role": "assistant", "content": "the"})
    return fields


def test_streamed_equals_plain(http, rng):
    reasons = set()
    for _ in range(25):
        fields = random_fields(rng)
        plain = create(http, **fields)
        assert comparable(gathered(stream(http, **fields))) == comparable(plain)
        reasons.add(plain["stop_reason"])
    assert {"max_tokens", "stop_sequence"} <= reasons


def test_the_stop_sequence_that_matched_is_named(http):
    fields = {"max_tokens": 40, "seed": 3, "temperature": 1}
    text = text_of(create(http, **fields))
    stop = next(a + b for a, b in pairwise(text) if (a + b).isascii())
    message = create(http, **fields, stop_sequences=["no such text", stop])
    assert text_of(message) == text[: text.index(stop)]
    assert (message["stop_reason"], message["stop_sequence"]) == ("stop_sequence", stop)


def test_a_full_context_is_named(http):
    message = create(http, messages=[{"role": "user", "content": "x" * 2000}], max_tokens=1000)
    assert message["stop_reason"] == "model_context_window_exceeded"


def test_a_prefill_is_continued(http):
    whole = create(http, max_tokens=12)
    begun = text_of(whole)
    question = {"messages": [USER, {"role": "assistant", "content": "the user"}]}
    n_prefill = count(http, **question) - count(http)
    assert 0 < n_prefill <= len("the user")
    assert text_of(create(http, **question)) != begun
    sent = [USER, {"role": "assistant", "content": [{"type": "text", "text": "the user"}]}]
    assert comparable(create(http, messages=sent)) == comparable(create(http, **question))


def test_what_was_read_from_the_cache_is_counted(http):
    messages = [{"role": "user", "content": "the system and the user and a cache " * 20}]
    first, second = (create(http, messages=messages)["usage"] for _ in range(2))
    n_prompt = count(http, messages=messages)
    assert first["input_tokens"] + first["cache_read_input_tokens"] == n_prompt
    assert second["cache_read_input_tokens"] > n_prompt - 70
    assert second["input_tokens"] == n_prompt - second["cache_read_input_tokens"]


def test_what_a_mark_put_into_the_cache_is_counted(http):
    mark = {"cache_control": {"type": "ephemeral"}}
    system = [{"type": "text", "text": "a system that nobody has sent before " * 10, **mark}]
    n_prompt = count(http, system=system)
    first, second = (create(http, system=system)["usage"] for _ in range(2))
    for usage in (first, second):
        assert sum(count for name, count in usage.items() if name != "output_tokens") == n_prompt
    assert 0 < first["input_tokens"] < 40  # the question
    assert first["cache_creation_input_tokens"] > n_prompt - 70
    assert second["cache_creation_input_tokens"] <= 64
    assert second["cache_read_input_tokens"] >= first["cache_creation_input_tokens"] - 64
    whole = create(http, messages=[{"role": "user", "content": "quite new " * 30}], **mark)["usage"]
    assert (whole["input_tokens"], whole["cache_creation_input_tokens"] > 50) == (0, True)


def test_a_template_that_refuses_an_emptied_turn_costs_no_answer(http, monkeypatch):
    def refuse(*args):
        raise InvalidRequest("an empty turn")

    monkeypatch.setattr("kvtape.server.routes.anthropic.encode_chat", refuse)
    usage = create(http, system=[{"type": "text", "text": "the", "cache_control": {"type": "ephemeral"}}])["usage"]
    assert (usage["cache_creation_input_tokens"], usage["output_tokens"]) == (0, 8)


def count(http, **fields):
    body = {"messages": [USER], **fields}
    response = http.post("/v1/messages/count_tokens", json=body, headers=VERSION)
    assert response.status_code == 200, response.text
    return response.json()["input_tokens"]


def test_the_count_is_that_of_the_request(http):
    for fields in ({}, {"system": "the user"}, {"messages": [USER, {"role": "assistant", "content": "the"}]}):
        assert count(http, **fields) == comparable(create(http, **fields))["usage"][0]


def error_of(response, status, kind):
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert (body["type"], body["error"]["type"]) == ("error", kind)
    assert body["request_id"] == response.headers["request-id"] == response.headers["x-request-id"]
    return body["error"]["message"]


@pytest.mark.parametrize("fields", [{}, {"stream": True}])
def test_overflow_is_a_400_before_anything_streams(http, fields):
    body = {**BODY, "messages": [{"role": "user", "content": "x" * 4000}], **fields}
    message = error_of(http.post("/v1/messages", json=body), 400, "invalid_request_error")
    assert message.startswith("prompt is too long: ")
    assert message.endswith(" tokens > 2047 maximum")


@pytest.mark.parametrize(
    ("content", "headers", "named"),
    [
        (b"{", {}, "JSON"),
        (b'{"messages": []}', {}, "max_tokens"),
        (json.dumps({**BODY, "tools": [{}]}).encode(), {}, "tools"),
        (
            json.dumps({**BODY, "messages": [{"role": "user", "content": [{"type": "image"}]}]}).encode(),
            {},
            "messages[0]",
        ),
        (json.dumps(BODY).encode(), {"anthropic-version": "2023-01-01"}, "anthropic-version"),
        (json.dumps({**BODY, "messages": [{"role": "user", "content": "\ud800"}]}).encode(), {}, ""),
    ],
)
@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens"])
def test_bad_requests_name_what_is_wrong(http, path, content, headers, named):
    if named == "max_tokens" and path != "/v1/messages":
        named = "messages"
    assert named in error_of(http.post(path, content=content, headers=headers), 400, "invalid_request_error")


@pytest.mark.parametrize(
    ("method", "path", "status", "kind"),
    [
        ("GET", "/v1/messages", 405, "invalid_request_error"),
        ("GET", "/v1/messages/batches", 404, "not_found_error"),
        ("POST", "/v1/messages/", 404, "not_found_error"),
    ],
)
def test_routes_that_are_not_there(http, method, path, status, kind):
    error_of(http.request(method, path), status, kind)


def test_errors_of_the_server_come_in_this_dialect_too(tiny_engine):
    app = create_app(tiny_engine, api_keys=["k"], limits=BodyLimits(body_bytes=100))
    with running(app) as url, httpx.Client(base_url=url) as http:
        error_of(http.post("/v1/messages", json=BODY), 401, "authentication_error")
        error_of(http.post("/v1/messages/count_tokens", headers={"x-api-key": "no"}), 401, "authentication_error")
        http.headers["x-api-key"] = "k"
        error_of(http.post("/v1/messages", json={**BODY, "system": "x" * 100}), 413, "request_too_large")
        app.state.runtime.drain()
        error_of(http.post("/v1/messages", json=BODY), 529, "overloaded_error")
        assert http.post("/v1/messagesx").json()["error"]["type"] == "unavailable_error"


def test_silence_is_bridged_by_pings(http, monkeypatch):
    monkeypatch.setattr(responses, "HEARTBEAT_SECONDS", 0.0001)
    events = [event["type"] for event in stream(http, messages=[{"role": "user", "content": "bridge " * 200}])]
    assert events[:2] == ["message_start", "ping"]


@pytest.mark.parametrize("begins", [True, False])
def test_an_engine_that_fails_says_so_by_its_status_or_ends_the_stream(http, monkeypatch, begins):
    async def broken(turn):
        if begins:
            yield TokenEvent(0, "x")
        raise EngineFailed("gone")

    monkeypatch.setattr("kvtape.chat.conversation.Turn.events", broken)
    if begins:
        *_, error = stream(http)
        assert error["error"] == {"type": "api_error", "message": "gone"}
    else:
        error_of(http.post("/v1/messages", json={**BODY, "stream": True}), 500, "api_error")
    error_of(http.post("/v1/messages", json=BODY), 500, "api_error")


@pytest.mark.parametrize("streamed", [False, True])
def test_a_client_that_leaves_cancels_its_generation(url, http, tiny_engine, streamed):
    before = http.get("/health").json()
    content = json.dumps({**BODY, "max_tokens": 1900, "stream": streamed}).encode()
    host = urlsplit(url)
    with socket.create_connection((host.hostname, host.port)) as connection:
        head = f"POST /v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: {len(content)}\r\n\r\n"
        connection.sendall(head.encode() + content)
        eventually(lambda: http.get("/health").json()["generated_tokens"] > before["generated_tokens"])
    eventually(lambda: http.get("/health").json()["requests_cancelled"] == before["requests_cancelled"] + 1)
    eventually(lambda: tiny_engine.stats().running == 0)
    assert http.get("/health").json()["generated_tokens"] - before["generated_tokens"] < 1900
