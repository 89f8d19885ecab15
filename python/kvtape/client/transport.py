"""HTTP for the clients: one call as a value, sent by a blocking or an asynchronous transport."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import httpx
import msgspec

from kvtape.errors import Conflict, ContextOverflow, EngineFailed, InvalidRequest, KvtapeError, NotFound, Overloaded
from kvtape.protocols.sse import SseDecoder, SseEvent

__all__ = ["AsyncTransport", "Call", "StatusError", "Transport", "raise_for_error"]

T = TypeVar("T")

TIMEOUT = httpx.Timeout(600.0, connect=5.0)


class StatusError(KvtapeError):
    """The server refused for a reason that has no exception of its own: 401, 413, 500 and the like."""

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One request and the type of its answer."""

    method: str
    path: str
    result: type[T]
    body: Mapping[str, Any] | None = None

    def content(self) -> bytes | None:
        """Return the body as JSON."""
        return None if self.body is None else msgspec.json.encode(self.body)

    def decode(self, status: int, content: bytes) -> T:
        """Return the answer.

        Raises:
            KvtapeError: the server's error, as the exception it stands for.
        """
        if status >= 400:
            raise_for_error(status, content)
        return msgspec.json.decode(content, type=self.result)


def raise_for_error(status: int, content: bytes) -> None:
    """Raise the exception that an error body stands for.

    Raises:
        KvtapeError: always.
    """
    try:
        error = msgspec.json.decode(content)["error"]
        message, code, param = str(error["message"]), error.get("code"), error.get("param")
    except (msgspec.DecodeError, KeyError, TypeError, AttributeError):
        message, code, param = content.decode("utf-8", "replace")[:200] or f"HTTP status {status}", None, None
    if code == "context_length_exceeded":
        raise ContextOverflow(message, param=param)
    if status == 400:
        raise InvalidRequest(message, param=param)
    for known, kind in ((404, NotFound), (409, Conflict), (503, Overloaded)):
        if status == known:
            raise kind(message)
    raise StatusError(message, status=status)


def _options(base_url: str, api_key: str | None, timeout: httpx.Timeout | float | None) -> dict[str, Any]:
    headers = {"content-type": "application/json", "user-agent": "kvtape-client"}
    if api_key:
        headers["authorization"] = f"Bearer {api_key}"
    return {"base_url": base_url, "headers": headers, "timeout": timeout}


class Transport:
    """Sends calls and waits for them."""

    def __init__(
        self, base_url: str, *, api_key: str | None = None, timeout: httpx.Timeout | float | None = TIMEOUT
    ) -> None:
        self._http = httpx.Client(**_options(base_url, api_key, timeout))

    def send(self, call: Call[T]) -> T:
        """Send a call and return its answer.

        Raises:
            EngineFailed: the server cannot be reached.
            KvtapeError: the server's error.
        """
        try:
            response = self._http.request(call.method, call.path, content=call.content())
        except httpx.TransportError as error:
            raise EngineFailed(f"{call.method} {call.path}: {error or type(error).__name__}") from error
        return call.decode(response.status_code, response.content)

    def stream(self, call: Call[Any], read: Callable[[SseEvent], T | None]) -> Generator[T, None, None]:
        """Send a call and yield what `read` makes of each event of the answer; closing the generator disconnects.

        Raises:
            EngineFailed: the server cannot be reached, or the connection broke.
            KvtapeError: the server's error.
        """
        decoder = SseDecoder()
        try:
            with self._http.stream(call.method, call.path, content=call.content()) as response:
                if response.status_code >= 400:
                    raise_for_error(response.status_code, response.read())
                for piece in response.iter_raw():
                    for event in decoder.feed(piece):
                        if (value := read(event)) is not None:
                            yield value
        except httpx.TransportError as error:
            raise EngineFailed(f"{call.method} {call.path}: {error or type(error).__name__}") from error

    def close(self) -> None:
        """Close all connections."""
        self._http.close()


class AsyncTransport:
    """As `Transport`, for an event loop."""

    def __init__(
        self, base_url: str, *, api_key: str | None = None, timeout: httpx.Timeout | float | None = TIMEOUT
    ) -> None:
        self._http = httpx.AsyncClient(**_options(base_url, api_key, timeout))

    async def send(self, call: Call[T]) -> T:
        """As `Transport.send`."""
        try:
            response = await self._http.request(call.method, call.path, content=call.content())
        except httpx.TransportError as error:
            raise EngineFailed(f"{call.method} {call.path}: {error or type(error).__name__}") from error
        return call.decode(response.status_code, response.content)

    async def stream(self, call: Call[Any], read: Callable[[SseEvent], T | None]) -> AsyncGenerator[T, None]:
        """As `Transport.stream`."""
        decoder = SseDecoder()
        try:
            async with self._http.stream(call.method, call.path, content=call.content()) as response:
                if response.status_code >= 400:
                    raise_for_error(response.status_code, await response.aread())
                async for piece in response.aiter_raw():
                    for event in decoder.feed(piece):
                        if (value := read(event)) is not None:
                            yield value
        except httpx.TransportError as error:
            raise EngineFailed(f"{call.method} {call.path}: {error or type(error).__name__}") from error

    async def aclose(self) -> None:
        """Close all connections."""
        await self._http.aclose()
