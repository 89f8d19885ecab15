"""Errors of a server as exceptions, and what happens without one."""

from __future__ import annotations

import socket
import subprocess
import sys

import msgspec
import pytest

from kvtape.client.transport import AsyncTransport, Call, StatusError, Transport, raise_for_error
from kvtape.errors import Conflict, ContextOverflow, EngineFailed, InvalidRequest, KvtapeError, NotFound, Overloaded


def body(**fields):
    return msgspec.json.encode({"error": {"message": "m", **fields}})


@pytest.mark.parametrize(
    ("status", "content", "kind"),
    [
        (400, body(param="n"), InvalidRequest),
        (400, body(code="context_length_exceeded", param="prompt"), ContextOverflow),
        (404, body(), NotFound),
        (409, body(), Conflict),
        (503, body(), Overloaded),
        (401, body(), StatusError),
        (500, body(), StatusError),
    ],
)
def test_an_error_is_the_exception_it_stands_for(status, content, kind):
    with pytest.raises(kind, match="m") as caught:
        raise_for_error(status, content)
    assert type(caught.value) is kind
    if isinstance(caught.value, InvalidRequest):
        assert caught.value.param in ("n", "prompt")
    if isinstance(caught.value, StatusError):
        assert caught.value.status == status


@pytest.mark.parametrize("content", [b"", b"<html>", b"[]", b'{"error": "text"}', b"null", b"\xff"])
def test_a_body_that_is_no_error_object_still_raises(content):
    with pytest.raises(StatusError) as caught:
        raise_for_error(502, content)
    assert caught.value.status == 502
    assert str(caught.value)


@pytest.fixture
def nobody():
    """A port where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as bound:
        port = bound.getsockname()[1]
    return f"http://127.0.0.1:{port}"


def test_an_absent_server_is_one_error(nobody):
    transport = Transport(nobody)
    with pytest.raises(EngineFailed, match="GET /health"):
        transport.send(Call("GET", "/health", dict))
    with pytest.raises(EngineFailed, match="GET /events"):
        list(transport.stream(Call("GET", "/events", dict), lambda event: event))
    transport.close()


async def test_an_absent_server_is_one_error_for_the_asynchronous_client_too(nobody):
    transport = AsyncTransport(nobody)
    with pytest.raises(EngineFailed, match="GET /health"):
        await transport.send(Call("GET", "/health", dict))
    with pytest.raises(EngineFailed, match="GET /events"):
        async for _ in transport.stream(Call("GET", "/events", dict), lambda event: event):
            pass
    await transport.aclose()


def test_errors_of_the_client_are_those_of_kvtape():
    assert issubclass(StatusError, KvtapeError)


def test_the_client_needs_no_native_library():
    program = "import sys, kvtape.client; print(sorted(m for m in sys.modules if m in ('kvtape._core', 'numpy')))"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
