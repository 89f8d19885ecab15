"""WebSocket connections of uvicorn that let an endpoint send pings of the protocol when it wants them.

Servers usually ping every socket alike. Here each dialect decides: clients of one wait for pings, those of another
break at them. A server of another make, in which the app is mounted, offers no such thing; its own setting holds.
"""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any, cast

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

if TYPE_CHECKING:
    from websockets.http11 import Request

__all__ = ["MAX_MESSAGE_BYTES", "SocketProtocol", "connection_of"]

MAX_MESSAGE_BYTES = 16 << 20  # a longer message ends the connection before it is read

_KEY = "kvtape.connection"


class SocketProtocol(WebSocketsSansIOProtocol):
    """uvicorn's protocol, which an endpoint finds with `connection_of`.

    Attributes:
        read_at: time of the event loop when bytes came last.
    """

    read_at = 0.0

    def data_received(self, data: bytes) -> None:
        """Take bytes of the client's."""
        self.read_at = self.loop.time()
        super().data_received(data)
        if not self.writable.is_set():  # pings are answered at once, into a buffer that nobody empties
            self.transport.pause_reading()

    def resume_writing(self) -> None:
        """Go on when the client has read."""
        super().resume_writing()
        if not self.read_paused:
            self.transport.resume_reading()

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
