"""WebSocket connections of uvicorn that let an endpoint send pings of the protocol when it wants them.

Servers usually ping every socket alike. Here each dialect decides: clients of one wait for pings, those of another
break at them. A server of another make, in which the app is mounted, offers no such thing; its own setting holds.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any, cast

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

if TYPE_CHECKING:
    from websockets.http11 import Request

__all__ = ["MAX_MESSAGE_BYTES", "SocketProtocol", "connection_of"]

MAX_MESSAGE_BYTES = 16 << 20  # a longer message ends the connection before it is read
LEAST_PIECE, FIRST_PIECE, MOST_PIECE = 1 << 9, 1 << 12, 1 << 16  # bytes that are taken at once
DEAR_SECONDS = 5e-4  # to take a piece: it is full of small frames

_KEY = "kvtape.connection"


class SocketProtocol(WebSocketsSansIOProtocol):
    """uvicorn's protocol, which an endpoint finds with `connection_of`.

    Bytes that came together are taken a piece at a time, and none while a message waits for the endpoint, or what was
    written for the client: it may have been pings, which are answered at once. Pieces grow as long as they cost little;
    after one that was dear the next is small, and waits for nine times as long, so that a flood of small frames has at
    most a tenth of the event loop.

    Attributes:
        read_at: time of the event loop when bytes came last.
    """

    read_at = 0.0
    _came = b""
    _n_taken = 0  # bytes of it
    _n_piece = FIRST_PIECE
    _pause = 0.0  # seconds
    _turn: asyncio.Handle | None = None

    def data_received(self, data: bytes) -> None:
        """Take bytes of the client's."""
        self.read_at = self.loop.time()
        self._came = self._came[self._n_taken :] + data if self._has_more() else data
        self._n_taken = 0
        if self._turn is None:
            self._take_piece()

    def _has_more(self) -> bool:
        return self._n_taken < len(self._came)

    def _take_piece(self) -> None:
        self._turn = None
        if self._has_more() and self._may_take():
            piece = self._came[self._n_taken : self._n_taken + self._n_piece]
            self._n_taken += len(piece)
            began = time.thread_time()
            super().data_received(piece)
            took = time.thread_time() - began
            dear = took > DEAR_SECONDS
            self._n_piece = LEAST_PIECE if dear else min(2 * self._n_piece, MOST_PIECE)
            self._pause = 9 * took if dear else 0.0
        self._go_on()

    def _may_take(self) -> bool:
        waits = not self.queue.empty() and not self.close_sent  # once that is sent, messages are dropped as they come
        return self.writable.is_set() and not waits and not self.transport.is_closing()

    def _go_on(self) -> None:
        """Take the next piece in its turn, or let more bytes come, unless something is in the way."""
        if self.transport.is_closing():
            return
        if self._may_take() and not self._has_more():
            self.transport.resume_reading()
            return
        self.transport.pause_reading()
        if self._may_take() and self._turn is None:
            self._turn = self.loop.call_later(self._pause, self._take_piece)

    async def receive(self) -> Any:
        """Return the next message."""
        message = await self.queue.get()
        self.read_paused = False
        self._go_on()
        return message

    async def send(self, message: Any) -> None:
        """Send a message; after the last one the client's close is waited for."""
        await super().send(message)
        if self.close_sent:
            self.handshake_complete = True  # refused is complete too: else it is logged as a fault of the endpoint
            self._go_on()

    def resume_writing(self) -> None:
        """Go on when the client has read."""
        super().resume_writing()
        self._go_on()

    def handle_connect(self, event: Request) -> None:
        """Start the endpoint, which runs after this."""
        super().handle_connect(event)
        if self.response.status_code == 101:
            cast(dict[str, Any], self.scope)[_KEY] = self

    def ping(self, payload: bytes) -> None:
        """Send a ping of the protocol."""
        if self.handshake_complete and not self.close_sent and not self.transport.is_closing():
            self.conn.send_ping(payload)
            self.transport.write(b"".join(self.conn.data_to_send()))

    async def keep_alive(self, *, every: float, timeout: float, payload: bytes) -> None:
        """Ping `every` so many seconds; drop the connection when nothing has been read for `timeout` seconds."""
        while self.loop.time() < self.read_at + timeout:
            await asyncio.sleep(every)
            self.ping(payload)
        self.transport.abort()  # nobody is there to close it with


def connection_of(scope: MutableMapping[str, Any]) -> SocketProtocol | None:
    """Return the connection that a WebSocket's scope came by; None where the server is of another make."""
    return scope.get(_KEY)
