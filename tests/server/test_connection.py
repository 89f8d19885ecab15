"""Connections whose requests do not come, or are none."""

from __future__ import annotations

import json
import socket
from contextlib import contextmanager
from urllib.parse import urlsplit

import httpx
import pytest

from kvtape.server import connection, create_app
from kvtape.server.serving import SERVER_OPTIONS
from tests.serving import running


@pytest.fixture
def impatient(tiny_engine, monkeypatch):
    monkeypatch.setattr(connection, "HEAD_SECONDS", 0.3)
    with running(create_app(tiny_engine)) as url:
        yield url


@contextmanager
def connected(url):
    host = urlsplit(url)
    with socket.create_connection((host.hostname, host.port), timeout=20) as client:
        yield client


def read_to_end(client):
    pieces = []
    while piece := client.recv(65536):
        pieces.append(piece)
    return b"".join(pieces)


def parse(answer):
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    assert int(headers["content-length"]) == len(body)
    assert headers["x-request-id"] == headers["request-id"]
    assert headers["x-request-id"].startswith("req_")
    assert headers["connection"] == "close"
    return int(status.split()[1]), json.loads(body)["error"]


def test_a_connection_without_a_request_is_closed(impatient):
    with connected(impatient) as client:
        assert read_to_end(client) == b""


def test_a_head_that_trickles_in_is_a_408(impatient):
    with connected(impatient) as client:
        client.sendall(b"GET /health HTTP/1.1\r\nhost: x\r\n")
        client.settimeout(0.1)
        for _ in range(100):
            client.sendall(b"x-more: 1\r\n")
            try:
                answer = client.recv(65536)
                break
            except TimeoutError:
                continue
    status, error = parse(answer)
    assert (status, error["type"]) == (408, "timeout_error")


def test_a_second_head_has_its_own_time(impatient):
    request = b"GET /v1/health HTTP/1.1\r\nhost: x\r\n"
    with connected(impatient) as client:
        client.sendall(request + b"\r\n")
        assert client.recv(65536).startswith(b"HTTP/1.1 200")
        client.sendall(request)
        assert parse(read_to_end(client))[0] == 408


def test_a_request_that_is_there_has_all_the_time_it_needs(impatient):
    with httpx.Client(base_url=impatient, timeout=30) as http:
        made = http.post("/v1/sessions/init", json={"type": "ohlcv", "prompt": "x"}).json()
        path = f"/v1/sessions/{made['id']}/generate"
        body = json.dumps({"prompt": "up?", "max_tokens": 1900, "ignore_eos": True}).encode()
        with connected(impatient) as client:
            head = f"POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {len(body)}\r\n\r\n"
            client.sendall(head.encode() + body)
            assert b'"finish_reason":"length"' in read_to_end(client)


@pytest.mark.parametrize(
    "noise", [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/1.1\r\n: x\r\n\r\n"]
)
def test_what_is_no_http_is_refused_in_our_form(url, noise):
    with connected(url) as client:
        client.sendall(noise)
        status, error = parse(read_to_end(client))
    assert (status, error["type"]) == (400, "invalid_request_error")


@pytest.mark.parametrize("answered", [False, True])
def test_a_body_that_breaks_off_http_ends_the_connection(url, http, answered):
    path = "/nothing" if answered else "/v1/chat/completions"
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n".encode()
    with connected(url) as client:
        client.sendall(head)
        if answered:
            assert client.recv(65536).startswith(b"HTTP/1.1 404")
        client.sendall(b"no number\r\n")
        answer = read_to_end(client)
    assert answer == b"" if answered else parse(answer)[0] == 400
    assert http.get("/health").json()["connections"] == 0


@pytest.mark.parametrize(
    "head", [b"GET /" + b"a" * 80_000, b"GET / HTTP/1.1\r\nhost: x\r\n" + b"x-more: 1\r\n" * 8_000]
)
def test_a_head_that_never_ends_is_refused(url, head):
    with connected(url) as client:
        client.sendall(head)
        status, error = parse(read_to_end(client))
    assert (status, error["type"]) == (431, "invalid_request_error")


def test_requests_in_a_row_are_answered_in_a_row(url):
    request = b"GET /v1/health HTTP/1.1\r\nhost: x\r\n\r\n"
    with connected(url) as client:
        client.sendall(request * 50 + request.replace(b"host: x", b"connection: close"))
        assert read_to_end(client).count(b"HTTP/1.1 200") == 51


def test_idle_connections_live_as_long_as_clients_expect():
    assert SERVER_OPTIONS["timeout_keep_alive"] >= 30
