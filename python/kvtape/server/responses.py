"""Responses that know when their client has gone: plain ones that give up their work, and event streams."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import aclosing
from typing import Any, TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from kvtape.errors import KvtapeError
from kvtape.protocols.anthropic.errors import MessagesError
from kvtape.protocols.openai.errors import ApiError
from kvtape.protocols.sse import HEARTBEAT

__all__ = [
    "REQUEST_ID",
    "EventStream",
    "error_response",
    "json_response",
    "new_request_id",
    "request_id_of",
    "route_path",
    "unless_gone",
]

REQUEST_ID = "kvtape.request_id"  # key of a request's scope
HEARTBEAT_SECONDS = 15.0  # of silence, after which a stream says that it lives

T = TypeVar("T")


def new_request_id() -> str:
    """Make an id for a request that has none."""
    return f"req_{secrets.token_hex(12)}"


def request_id_of(scope: Scope) -> str:
    """Return the id under which a request's answer is known."""
    return str(scope[REQUEST_ID])


def route_path(scope: Scope) -> str:
    """Return the path of a request below where the app is mounted."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


def json_response(body: msgspec.Struct | bytes, status: int = 200) -> Response:
    """Answer with JSON."""
    content = body if isinstance(body, bytes) else msgspec.json.encode(body)
    return Response(content, status, media_type="application/json")


def error_response(error: BaseException | ApiError, scope: Scope) -> Response:
    """Answer with an error in the envelope of the dialect that the path belongs to."""
    if f"{route_path(scope)}/".startswith("/v1/messages/"):
        messages_error = MessagesError.of(error)
        status, retry_after = messages_error.status, messages_error.retry_after
        body = messages_error.body(request_id_of(scope))
    else:
        api_error = error if isinstance(error, ApiError) else ApiError.of(error)
        status, retry_after, body = api_error.status, api_error.retry_after, api_error.body()
    response = json_response(body, status)
    if retry_after is not None:
        response.headers["retry-after"] = f"{retry_after:g}"
    return response


async def unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Run `work` to its end, or cancel it when the client goes away. The body must have been read.

    Raises:
        ClientDisconnect: the client went away.
    """
    return await _race(asyncio.ensure_future(work), request.receive)


class EventStream(Response):
    """Frames of an event stream, flushed one by one, and `heartbeat` while there are none, as during a long prefill.

    The response begins with the first of these, not before: what goes wrong until then has a status of its own, which
    clients know how to retry, and only what goes wrong later is `encode_error`'s frame. A client that waits for the
    headers waits for the first token, but no longer than for a heartbeat. `opening` stands before whichever it is.

    The frames' generator is closed and `on_close` called in any case: at the end, when the client goes away, and when
    not a single frame could be sent.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        frames: AsyncGenerator[bytes, None],
        on_close: Callable[[], None],
        *,
        opening: bytes = b"",
        heartbeat: bytes = HEARTBEAT,
        encode_error: Callable[[KvtapeError], bytes] | None = None,
    ) -> None:
        self.status_code = 200
        self.background = None
        self.body = b""
        self._frames = frames
        self._on_close = on_close
        self._opening = opening
        self._heartbeat = heartbeat
        self._encode_error = encode_error
        self._started = False
        self._sending = asyncio.Lock()  # frames and heartbeats come from two tasks
        self._sent_at = time.monotonic()
        self.init_headers({"cache-control": "no-cache", "x-accel-buffering": "no"})
        del self.headers["content-length"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the frames.

        Raises:
            ClientDisconnect: the client went away.
            KvtapeError: the frames failed before the first of them.
        """
        try:
            await _race(asyncio.ensure_future(self._pump(send)), receive)
        finally:
            await self._frames.aclose()
            self._on_close()

    async def _pump(self, send: Send) -> None:
        keeping_alive = asyncio.ensure_future(self._keep_alive(send))
        try:
            async with aclosing(self._frames) as frames:
                async for frame in frames:
                    await self._send_frame(send, frame)
                    await asyncio.sleep(0)  # frames that are all there must not hide that the client has gone
        except KvtapeError as error:
            if self._encode_error is None or not self._started:
                raise
            await self._send_frame(send, self._encode_error(error))
        finally:
            keeping_alive.cancel()
            await asyncio.wait([keeping_alive])
        await self._send_frame(send, b"", more=False)

    async def _send_frame(self, send: Send, frame: bytes, *, more: bool = True) -> None:
        self._sent_at = time.monotonic()
        async with self._sending:
            if not self._started:
                self._started = True
                await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
                frame = self._opening + frame
            await send({"type": "http.response.body", "body": frame, "more_body": more})

    async def _keep_alive(self, send: Send) -> None:
        """Send a frame after each time of silence; beside the others, so that they cost no more for it."""
        while True:
            remaining = self._sent_at + HEARTBEAT_SECONDS - time.monotonic()
            if remaining > 0:
                await asyncio.sleep(remaining)
            else:
                await self._send_frame(send, self._heartbeat)


async def _race(work: asyncio.Future[T], receive: Callable[[], Awaitable[Any]]) -> T:
    gone = asyncio.ensure_future(_until_gone(receive))
    both: set[asyncio.Future[Any]] = {work, gone}
    try:
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            raise ClientDisconnect
        return work.result()
    finally:
        for task in both:
            task.cancel()
        await asyncio.wait(both)


async def _until_gone(receive: Callable[[], Awaitable[Any]]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
