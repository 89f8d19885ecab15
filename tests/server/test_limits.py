"""Bounds of request bodies."""

from __future__ import annotations

import socket
import threading
from urllib.parse import urlsplit

import httpx
import pytest

from kvtape.server import create_app
from kvtape.server.limits import BodyLimits
from tests.serving import eventually, running


@pytest.fixture
def limits():
    return BodyLimits(body_bytes=1000, total_bytes=1500, seconds=0.3)


@pytest.fixture
def bounded(tiny_engine, limits):
    with running(create_app(tiny_engine, limits=limits)) as url:
        yield url


def pieces(n_bytes):
    yield b" " * (n_bytes // 2)
    yield b" " * (n_bytes - n_bytes // 2)


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_over_the_limit_is_refused(bounded, limits, chunked):
    for n_bytes, status in ((1000, 400), (1001, 413)):
        content = pieces(n_bytes) if chunked else b" " * n_bytes
        response = httpx.post(f"{bounded}/v1/chat/completions", content=content)
        assert response.status_code == status
    assert response.json()["error"]["type"] == "request_too_large"
    eventually(lambda: limits.held_bytes == 0)


def test_all_bodies_together_are_bounded(bounded, limits):
    limits.seconds = 20
    host = urlsplit(bounded)
    with socket.create_connection((host.hostname, host.port)) as slow:
        slow.sendall(b"POST /v1/sessions/init HTTP/1.1\r\nhost: x\r\ncontent-length: 900\r\n\r\n" + b" " * 899)
        eventually(lambda: limits.held_bytes == 899)
        response = httpx.post(f"{bounded}/v1/chat/completions", content=b" " * 700)
        assert response.status_code == 503
        assert "holding too many request bodies" in response.json()["error"]["message"]
        assert httpx.post(f"{bounded}/v1/chat/completions", content=b" " * 500).status_code == 400
    eventually(lambda: limits.held_bytes == 0)


def test_a_body_that_does_not_arrive_in_time_is_a_408(bounded):
    host = urlsplit(bounded)
    with socket.create_connection((host.hostname, host.port)) as slow:
        slow.sendall(b"POST /v1/sessions/init HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n{")
        assert slow.recv(1000).startswith(b"HTTP/1.1 408")


def test_bodies_in_flight_are_counted_until_the_request_ends(bounded, limits):
    session = httpx.post(f"{bounded}/v1/sessions/init", json={"type": "ohlcv", "prompt": "x"}).json()
    url = f"{bounded}/v1/sessions/{session['id']}/generate"
    body = {"prompt": "up?", "max_tokens": 1500, "ignore_eos": True}
    thread = threading.Thread(target=httpx.post, args=(url,), kwargs={"json": body, "timeout": 60})
    thread.start()
    eventually(lambda: limits.held_bytes > 0)
    thread.join()
    eventually(lambda: limits.held_bytes == 0)
