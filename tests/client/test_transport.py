"""Calls sent, tried again and broken off, over a server of the test's own words."""

from __future__ import annotations

import re
import socket
import threading
from contextlib import contextmanager

import msgspec
import pytest

from kvtape.client.call import Call, Settings, StreamCall
from kvtape.client.errors import Disconnected, StatusError
from kvtape.client.retry import Backoff
from kvtape.client.transport import AsyncTransport, Transport
from kvtape.errors import InvalidRequest, Overloaded

BUDGET = b'{"error":{"message":"the server is holding too many request bodies; try again"}}'
SOON = Backoff(first=0.001, most=0.002, tries=2)


def read_request(connection):
    data = b""
    while (end := data.find(b"\r\n\r\n")) < 0:
        data += connection.recv(1 << 16)
    length = re.search(rb"content-length: (\d+)", data[:end].lower())
    while len(data) < end + 4 + (int(length[1]) if length else 0):
        data += connection.recv(1 << 16)
    return data


@contextmanager
def answering(*answers):
    """A server that gives one of these answers to each connection, then hangs up; yields its URL and the requests."""
    requests = []

    def serve():
        for answer in answers:
            connection, _ = bound.accept()
            with connection:
                requests.append(read_request(connection))
                connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as bound:
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{bound.getsockname()[1]}", requests
        thread.join(timeout=20)
        assert not thread.is_alive(), "fewer requests came than there are answers"


def plain(status, body, *headers):
    lines = [f"HTTP/1.1 {status} x", f"content-length: {len(body)}", "connection: close", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def frames(text):
    return b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n" + text


def number(frame):
    return int(frame.data) if frame.data.isdecimal() else None


NUMBERS = StreamCall("POST", "/n", number, lambda frame: frame.data == "end")


class Blocking:
    """The blocking transport, as the tests speak to both."""

    def __init__(self, url, **settings):
        self._transport = Transport(Settings(url, retry=SOON, **settings))

    async def send(self, call):
        return self._transport.send(call)

    async def stream(self, call, into):
        for value in self._transport.stream(call):
            into.append(value)

    async def close(self):
        self._transport.close()


class Asynchronous:
    def __init__(self, url, **settings):
        self._transport = AsyncTransport(Settings(url, retry=SOON, **settings))

    async def send(self, call):
        return await self._transport.send(call)

    async def stream(self, call, into):
        async for value in self._transport.stream(call):
            into.append(value)

    async def close(self):
        await self._transport.aclose()


@pytest.fixture(params=[Blocking, Asynchronous], ids=["blocking", "asyncio"])
def kind(request):
    return request.param


async def sent(kind, url, call, **settings):
    transport = kind(url, **settings)
    try:
        return await transport.send(call)
    finally:
        await transport.close()


async def test_a_call_carries_what_it_is_given(kind):
    call = Call("POST", "/x?a=1", dict, {"text": "é"}, {"x-layerscale-session-id": "s"})
    with answering(plain(200, b'{"n":1}')) as (url, requests):
        assert await sent(kind, url, call, api_key="key") == {"n": 1}
    head, _, body = requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /x?a=1 HTTP/1.1\r\n")
    for line in (b"content-type: application/json", b"authorization: Bearer key", b"x-layerscale-session-id: s"):
        assert line in head
    assert msgspec.json.decode(body) == {"text": "é"}


async def test_text_comes_as_it_stands(kind):
    with answering(plain(200, b"a 1\n")) as (url, _):
        assert await sent(kind, url, Call("GET", "/metrics", str)) == "a 1\n"


@pytest.mark.parametrize("first", [b"", plain(503, BUDGET), plain(408, b"")], ids=["cut", "budget", "408"])
async def test_what_changes_nothing_is_sent_again(kind, first):
    with answering(first, plain(200, b"{}")) as (url, requests):
        assert await sent(kind, url, Call("GET", "/x", dict)) == {}
    assert len(requests) == 2


async def test_but_not_for_ever(kind):
    with answering(*[plain(503, BUDGET)] * 3) as (url, requests):
        with pytest.raises(Overloaded, match="too many request bodies"):
            await sent(kind, url, Call("GET", "/x", dict))
        assert len(requests) == 3


@pytest.mark.parametrize(
    ("method", "answer", "error"),
    [
        ("POST", b"", Disconnected),
        ("POST", plain(503, BUDGET), Overloaded),
        ("DELETE", plain(408, b""), StatusError),
        ("GET", plain(503, b'{"error":{"message":"not ready"}}', "retry-after: 2"), Overloaded),
        ("GET", plain(500, b""), StatusError),
    ],
)
async def test_nothing_else_is(kind, method, answer, error):
    with answering(answer) as (url, _), pytest.raises(error) as caught:
        await sent(kind, url, Call(method, "/x", dict))
    if b"retry-after" in answer:
        assert caught.value.retry_after == 2.0


async def test_an_absent_server_is_one_error(kind):
    with socket.create_server(("127.0.0.1", 0)) as bound:
        url = f"http://127.0.0.1:{bound.getsockname()[1]}"
    with pytest.raises(Disconnected, match="GET /health"):
        await sent(kind, url, Call("GET", "/health", dict))
    transport = kind(url)
    with pytest.raises(Disconnected, match="POST /n"):
        await transport.stream(NUMBERS, [])
    await transport.close()


@pytest.mark.parametrize(
    ("text", "values", "error"),
    [
        (b"data: 1\n\ndata: x\n\ndata: 2\n\ndata: end\n\n", [1, 2], None),
        (b"data: 1\n\ndata: 2\n\n", [1, 2], Disconnected),
        (b"data: 1\n\ndata: end\n", [1], Disconnected),
    ],
)
async def test_a_stream_without_its_end_is_an_error(kind, text, values, error):
    found = []
    with answering(frames(text)) as (url, _):
        transport = kind(url)
        if error is None:
            await transport.stream(NUMBERS, found)
        else:
            with pytest.raises(error, match="broke off"):
                await transport.stream(NUMBERS, found)
        await transport.close()
    assert found == values


async def test_a_refused_stream_is_the_error_it_stands_for(kind):
    with answering(plain(400, b'{"error":{"message":"m","param":"n"}}')) as (url, _):
        transport = kind(url)
        with pytest.raises(InvalidRequest) as caught:
            await transport.stream(NUMBERS, [])
        await transport.close()
    assert caught.value.param == "n"
