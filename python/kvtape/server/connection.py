"""HTTP connections of uvicorn that no client can hold by saying nothing, and that refuse in our own form."""

from __future__ import annotations

import asyncio
import http

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from kvtape.protocols.openai.errors import ApiError
from kvtape.server.responses import new_request_id

__all__ = ["HEAD_BYTES", "HEAD_SECONDS", "HttpProtocol"]

HEAD_SECONDS = 60.0  # for a request to be there, all but its body, from the connection or its first byte on
HEAD_BYTES = 1 << 16


class HttpProtocol(HttpToolsProtocol):
    """uvicorn's protocol, with limits on how long a request takes to begin, in time and in bytes.

    What has a limit elsewhere: a body (`limits`), the time between requests (uvicorn), and a client that does not read
    (`serving.listen`).
    """

    _deadline: asyncio.TimerHandle | None = None
    _in_head = False
    _n_head = 0  # bytes that came since the head began

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._deadline = self.loop.call_later(HEAD_SECONDS, self._on_deadline)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._stop_waiting()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """Note that a head begins."""
        self._in_head, self._n_head = True, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Note that it ends."""
        self._in_head = False
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        """Take bytes of the client's: more bytes of the same head give it no more time."""
        super().data_received(data)
        if self._in_head:
            self._n_head += len(data)
        if self.transport.is_closing() or self.transport.get_protocol() is not self or self._is_serving():
            self._stop_waiting()
        elif self._in_head and self._n_head > HEAD_BYTES:
            self._refuse(ApiError.of_status(431, f"the head of the request is longer than {HEAD_BYTES} bytes"))
        elif self._deadline is None:
            self._deadline = self.loop.call_later(HEAD_SECONDS, self._on_deadline)

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, unless an answer to what came before it is on its way, or was all there is to say."""
        can_answer = self._in_head or self.cycle is None
        if self._is_serving():
            can_answer = not self.cycle.response_started
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if can_answer:
            self._refuse(ApiError.of_status(400, "the request is not valid HTTP/1.1"))
        else:
            self.transport.close()

    def _is_serving(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _on_deadline(self) -> None:
        self._deadline = None
        if self.transport.is_closing() or self._is_serving():
            return
        if self._in_head:
            self._refuse(ApiError.of_status(408, f"the request did not arrive within {HEAD_SECONDS:g} s"))
        else:
            self.transport.close()

    def _refuse(self, error: ApiError) -> None:
        self._stop_waiting()
        body, request_id = error.body(), new_request_id()
        head = (
            f"HTTP/1.1 {error.status} {http.HTTPStatus(error.status).phrase}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n"
            f"x-request-id: {request_id}\r\nrequest-id: {request_id}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()
