"""Connections that ping when their endpoint wants it."""

from __future__ import annotations

import contextlib
import time

import pytest
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocketDisconnect
from websockets.exceptions import ConnectionClosed
from websockets.frames import Opcode
from websockets.sync.client import connect

from kvtape.server import websocket
from kvtape.server.websocket import connection_of
from tests.serving import running


async def endpoint(socket):
    await socket.accept()
    connection = connection_of(socket.scope)
    await connection.keep_alive(every=0.02, timeout=0.2, payload=b"hb")


def test_an_endpoint_sends_its_own_pings_and_silence_ends_it(monkeypatch):
    with running(Starlette(routes=[WebSocketRoute("/", endpoint)])) as url, connect(url.replace("http", "ws")) as ws:
        heard = []
        read = ws.protocol.recv_frame

        def hear(frame):
            if frame.opcode is Opcode.PING:
                heard.append(bytes(frame.data))  # and no pong
            else:
                read(frame)

        monkeypatch.setattr(ws.protocol, "recv_frame", hear)
        with pytest.raises(ConnectionClosed):
            ws.recv(timeout=20)
        assert b"hb" in heard


@pytest.mark.parametrize("scope", [{}, {"extensions": {}}])
def test_another_server_has_no_such_connection(scope):
    assert connection_of(scope) is None


async def echo(socket):
    await socket.accept()
    with contextlib.suppress(WebSocketDisconnect):
        while True:
            await socket.send_text(await socket.receive_text())


@pytest.mark.parametrize("n_bytes", [1, 7, 1 << 14])
def test_messages_that_came_together_are_taken_in_pieces(monkeypatch, n_bytes):
    monkeypatch.setattr(websocket, "LEAST_PIECE", n_bytes)
    monkeypatch.setattr(websocket, "MOST_PIECE", n_bytes)
    monkeypatch.setattr(websocket.SocketProtocol, "_n_piece", n_bytes)
    texts = [str(number) * (number % 50) for number in range(200)]
    with running(Starlette(routes=[WebSocketRoute("/", echo)])) as url, connect(url.replace("http", "ws")) as ws:
        sender = ws.protocol
        with ws.protocol_mutex:
            for text in texts:
                sender.send_text(text.encode())
                sender.send_ping(b"p")
            ws.send_data()
        assert [ws.recv(timeout=20) for _ in texts] == texts


async def say_goodbye(socket):
    await socket.accept()
    await socket.receive_text()
    await socket.close()


def test_a_closing_handshake_is_not_held_up_by_what_nobody_reads_any_more():
    with running(Starlette(routes=[WebSocketRoute("/", say_goodbye)])) as url, connect(url.replace("http", "ws")) as ws:
        began = time.monotonic()
        for _ in range(100):
            with contextlib.suppress(ConnectionClosed):
                ws.send("x" * 1000)
        with pytest.raises(ConnectionClosed):
            ws.recv(timeout=20)
        ws.close()
        assert time.monotonic() - began < 5  # uvicorn gives up after 10
