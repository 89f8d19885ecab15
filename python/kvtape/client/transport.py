"""HTTP for the clients, blocking and asynchronous."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing, closing
from itertools import count
from typing import Any, TypeVar

import httpx

from kvtape.client.call import Call, Settings, StreamCall, refusal, request_of
from kvtape.client.errors import Disconnected
from kvtape.client.retry import may_repeat
from kvtape.errors import EngineFailed, KvtapeError
from kvtape.protocols.sse import SseDecoder, SseEvent

__all__ = ["AsyncTransport", "Transport"]

T = TypeVar("T")


def _failure(call: Call[Any] | StreamCall[Any], error: httpx.TransportError) -> EngineFailed:
    message = f"{call.method} {call.path}: {error or type(error).__name__}"
    # A server that is slow has the request all the same.
    is_slow = isinstance(error, httpx.TimeoutException) and not isinstance(error, httpx.ConnectTimeout)
    return EngineFailed(message) if is_slow and isinstance(call, Call) else Disconnected(message)


def _broken_off(call: StreamCall[Any]) -> Disconnected:
    return Disconnected(f"{call.method} {call.path}: the answer broke off")


def _pause(settings: Settings, call: Call[Any], error: KvtapeError, n_failures: int) -> float:
    delay = settings.retry.delay(n_failures) if may_repeat(call.method, error) else None
    if delay is None:
        raise error
    return delay


class Transport:
    """Sends calls and waits for them."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._http = httpx.Client(**settings.http_options())

    def send(self, call: Call[T]) -> T:
        """Send a call and return its answer.

        Raises:
            Disconnected: the server cannot be reached.
            KvtapeError: the server's error.
        """
        for n_failures in count(1):
            try:
                return self._once(call)
            except KvtapeError as error:
                delay = _pause(self.settings, call, error, n_failures)
            time.sleep(delay)
        raise AssertionError("unreachable")

    def _once(self, call: Call[T]) -> T:
        try:
            return call.decode(self._http.request(**request_of(call)))
        except httpx.TransportError as error:
            raise _failure(call, error) from error

    def frames(self, call: StreamCall[Any]) -> Generator[SseEvent, None, None]:
        """Send a call and yield the events of its answer; closing the generator disconnects.

        Raises:
            Disconnected: the server cannot be reached, or the connection broke.
            KvtapeError: the server's error.
        """
        decoder = SseDecoder()
        try:
            with self._http.stream(**request_of(call)) as response:
                if response.status_code >= 400:
                    response.read()
                    raise refusal(response)
                for piece in response.iter_raw():
                    yield from decoder.feed(piece)
        except httpx.TransportError as error:
            raise _failure(call, error) from error

    def stream(self, call: StreamCall[T]) -> Generator[T, None, None]:
        """Send a call and yield the values of its answer; closing the generator disconnects.

        Raises:
            Disconnected: the server cannot be reached, or the answer broke off.
            KvtapeError: the server's error.
        """
        is_whole = False
        with closing(self.frames(call)) as frames:
            for frame in frames:
                is_whole = is_whole or call.is_last(frame)
                if (value := call.read(frame)) is not None:
                    yield value
        if not is_whole:
            raise _broken_off(call)

    def close(self) -> None:
        """Close all connections."""
        self._http.close()


class AsyncTransport:
    """As `Transport`, for an event loop."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._http = httpx.AsyncClient(**settings.http_options())

    async def send(self, call: Call[T]) -> T:
        """As `Transport.send`."""
        for n_failures in count(1):
            try:
                return await self._once(call)
            except KvtapeError as error:
                delay = _pause(self.settings, call, error, n_failures)
            await asyncio.sleep(delay)
        raise AssertionError("unreachable")

    async def _once(self, call: Call[T]) -> T:
        try:
            return call.decode(await self._http.request(**request_of(call)))
        except httpx.TransportError as error:
            raise _failure(call, error) from error

    async def frames(self, call: StreamCall[Any]) -> AsyncGenerator[SseEvent, None]:
        """As `Transport.frames`."""
        decoder = SseDecoder()
        try:
            async with self._http.stream(**request_of(call)) as response:
                if response.status_code >= 400:
                    await response.aread()
                    raise refusal(response)
                async for piece in response.aiter_raw():
                    for event in decoder.feed(piece):
                        yield event
        except httpx.TransportError as error:
            raise _failure(call, error) from error

    async def stream(self, call: StreamCall[T]) -> AsyncGenerator[T, None]:
        """As `Transport.stream`."""
        is_whole = False
        async with aclosing(self.frames(call)) as frames:
            async for frame in frames:
                is_whole = is_whole or call.is_last(frame)
                if (value := call.read(frame)) is not None:
                    yield value
        if not is_whole:
            raise _broken_off(call)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._http.aclose()
