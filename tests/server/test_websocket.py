"""Connections that ping when their endpoint wants it."""

from __future__ import annotations

import pytest
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from websockets.exceptions import ConnectionClosed
from websockets.frames import Opcode
from websockets.sync.client import connect

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
