"""Responses under hand-made ASGI traffic."""

from __future__ import annotations

import asyncio
import json

import pytest
from starlette.requests import ClientDisconnect, Request

from kvtape.errors import Overloaded
from kvtape.protocols.openai.errors import ApiError
from kvtape.server import responses
from kvtape.server.responses import REQUEST_ID, EventStream, error_response, unless_gone


class Client:
    """The other side of an ASGI connection; leaves when told to."""

    def __init__(self):
        self.sent = []
        self.left = asyncio.Event()

    async def receive(self):
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message):
        self.sent.append(message)


async def test_frames_are_sent_one_by_one_and_the_source_is_closed():
    client, closed = Client(), []

    async def frames():
        yield b"one"
        yield b"two"

    await EventStream(frames(), lambda: closed.append(True))({}, client.receive, client.send)
    start, *bodies = client.sent
    headers = dict(start["headers"])
    assert headers[b"content-type"].startswith(b"text/event-stream")
    assert headers[b"cache-control"] == b"no-cache"
    assert b"content-length" not in headers
    assert [(body["body"], body["more_body"]) for body in bodies] == [(b"one", True), (b"two", True), (b"", False)]
    assert closed == [True]


async def test_a_client_that_leaves_ends_the_source_even_between_frames():
    client, closed, ended = Client(), [], []

    async def frames():
        try:
            yield b"one"
            client.left.set()
            await asyncio.sleep(3600)
        finally:
            ended.append(True)

    with pytest.raises(ClientDisconnect):
        await EventStream(frames(), lambda: closed.append(True))({}, client.receive, client.send)
    assert (ended, closed) == ([True], [True])


async def test_a_client_that_leaves_is_noticed_while_all_frames_are_there():
    client, sent = Client(), []

    async def frames():
        for number in range(1_000_000):
            if number == 5:
                client.left.set()
            sent.append(number)
            yield b"frame"

    with pytest.raises(ClientDisconnect):
        await EventStream(frames(), lambda: None)({}, client.receive, client.send)
    assert len(sent) < 20


async def test_an_error_before_the_first_frame_is_no_stream():
    client, closed = Client(), []

    async def frames():
        raise Overloaded("full")
        yield b""

    stream = EventStream(frames(), lambda: closed.append(True), encode_error=lambda error: b"failed")
    with pytest.raises(Overloaded):
        await stream({}, client.receive, client.send)
    assert (client.sent, closed) == ([], [True])


@pytest.mark.parametrize("begins_with", [b"one", b"alive"])
async def test_an_error_behind_the_first_frame_is_the_last(monkeypatch, begins_with):
    monkeypatch.setattr(responses, "HEARTBEAT_SECONDS", 0.01)
    client = Client()

    async def frames():
        if begins_with == b"one":
            yield b"one"
        while not client.sent:
            await asyncio.sleep(0)
        raise Overloaded("full")

    stream = EventStream(
        frames(), lambda: None, opening=b"hello ", heartbeat=b"alive", encode_error=lambda error: str(error).encode()
    )
    await stream({}, client.receive, client.send)
    bodies = [message["body"] for message in client.sent[1:]]
    assert bodies == [b"hello " + begins_with, b"full", b""]


async def test_silence_is_bridged_by_comments_and_a_stream_that_speaks_has_none(monkeypatch):
    monkeypatch.setattr(responses, "HEARTBEAT_SECONDS", 0.02)
    client, go_on = Client(), asyncio.Event()

    async def frames():
        while len(client.sent) < 4:
            await asyncio.sleep(0.005)
        for _ in range(20):
            await asyncio.sleep(0.005)
            yield b"data"

    await EventStream(frames(), go_on.set)({}, client.receive, client.send)
    start, *bodies, end = [message.get("body") for message in client.sent]
    assert start is None
    assert bodies == [b": heartbeat\n\n"] * 3 + [b"data"] * 20
    assert end == b""


async def test_a_client_that_left_before_the_first_frame_still_closes():
    client, closed = Client(), []
    client.left.set()

    async def frames():
        await asyncio.sleep(3600)
        yield b""

    with pytest.raises(ClientDisconnect):
        await EventStream(frames(), lambda: closed.append(True))({}, client.receive, client.send)
    assert closed == [True]


async def test_work_is_cancelled_when_its_client_leaves():
    client, cancelled = Client(), []

    async def work():
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    asyncio.get_running_loop().call_soon(client.left.set)
    with pytest.raises(ClientDisconnect):
        await unless_gone(Request({"type": "http"}, client.receive), work())
    assert cancelled == [True]


async def test_work_that_ends_gives_its_result_or_its_error():
    async def work(error=None):
        if error:
            raise error
        return 5

    request = Request({"type": "http"}, Client().receive)
    assert await unless_gone(request, work()) == 5
    with pytest.raises(KeyError):
        await unless_gone(request, work(KeyError("x")))


async def test_silence_is_bridged_between_frames(monkeypatch):
    monkeypatch.setattr("kvtape.server.responses.HEARTBEAT_SECONDS", 0.01)
    client = Client()

    async def frames():
        yield b"one"
        while [message["body"] for message in client.sent[1:]].count(b"alive") < 2:
            await asyncio.sleep(0)
        yield b"two"

    await EventStream(frames(), lambda: None, heartbeat=b"alive")({}, client.receive, client.send)
    bodies = [message["body"] for message in client.sent[1:]]
    assert bodies[0] == b"one"
    assert bodies[-2:] == [b"two", b""]
    assert set(bodies[1:-2]) == {b"alive"}


@pytest.mark.parametrize(
    ("path", "status", "kind"),
    [
        ("/v1/messages", 529, "overloaded_error"),
        ("/v1/messages/count_tokens", 529, "overloaded_error"),
        ("/v1/messagesx", 503, "unavailable_error"),
        ("/v1/chat/completions", 503, "unavailable_error"),
    ],
)
def test_the_path_decides_the_dialect_of_an_error(path, status, kind):
    scope = {"path": f"/llm{path}", "root_path": "/llm", REQUEST_ID: "req_1"}
    for error in (Overloaded("full", retry_after=1.5), ApiError.of(Overloaded("full", retry_after=1.5))):
        response = error_response(error, scope)
        assert (response.status_code, response.headers["retry-after"]) == (status, "1.5")
        assert json.loads(response.body)["error"]["type"] == kind
