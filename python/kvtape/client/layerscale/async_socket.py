"""A session's WebSocket for an event loop; see `socket`, which does the same with threads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed
from websockets.protocol import State

from kvtape.client.call import Settings
from kvtape.client.layerscale.dial import dial_async
from kvtape.client.layerscale.exchange import CLOSE, Exchange, Reply
from kvtape.client.layerscale.session_calls import Data
from kvtape.client.layerscale.trail import Event, Trail
from kvtape.errors import KvtapeError
from kvtape.protocols.layerscale import models

__all__ = ["AsyncSessionSocket"]


class AsyncSessionSocket(AsyncIterator[Event]):
    """As `SessionSocket`, for an event loop: whoever waits reads, also for the tasks that wait beside it."""

    def __init__(self, settings: Settings, session_id: str, trail: Trail) -> None:
        self._settings = settings
        self._exchange = Exchange(session_id, trail)
        self._connection: ClientConnection | None = None
        self._retry_at = 0.0
        self._closed = asyncio.Event()
        self._reading: asyncio.Future[None] | None = None  # done when who reads now has read

    @property
    def last_event_id(self) -> int | None:
        """As `SessionSocket.last_event_id`."""
        return self._exchange.trail.last_event_id

    async def push(self, data: Data, *, timeout: float | None = None) -> models.PushResult:
        """As `SessionSocket.push`. A push that is cancelled may have been queued."""
        result = (await self._ask(data, timeout)).result
        assert result is not None
        return result

    async def ping(self, *, timeout: float | None = None) -> None:
        """As `SessionSocket.ping`."""
        await self._ask(None, timeout)

    async def receive(self, *, timeout: float | None = None) -> Event | None:
        """As `SessionSocket.receive`."""
        async with asyncio.timeout(timeout):
            await self._until(self._exchange.has_news)
        return self._exchange.take_event()

    async def __anext__(self) -> Event:
        if (event := await self.receive()) is None:
            raise StopAsyncIteration
        return event

    async def aclose(self) -> None:
        """End the connection, and what waits for it in other tasks."""
        self._exchange.close()
        self._closed.set()
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(ConnectionClosed):
                await connection.send(CLOSE)
            await connection.close()

    async def __aenter__(self) -> Self:
        try:
            await self._until(lambda: self._connection is not None or self._exchange.over is not None)
            if self._exchange.over is not None:
                raise self._exchange.over
        except BaseException:
            await self.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _ask(self, data: Data | None, timeout: float | None) -> Reply:
        message, reply = self._exchange.encode(data), Reply(data)
        is_sent = False
        try:
            async with asyncio.timeout(timeout):
                while not (is_sent := await self._send(message, reply)):
                    await self._until(self._is_connected)
                    if self._exchange.over is not None:
                        raise self._exchange.over
                await self._until(lambda: reply.is_there)
        except TimeoutError:
            if is_sent:
                raise reply.lost(f"no answer for {timeout} s") from None
            raise
        if reply.error is not None:
            raise reply.error
        return reply

    def _is_connected(self) -> bool:
        connection = self._connection
        return self._exchange.over is not None or (connection is not None and connection.state is State.OPEN)

    async def _send(self, message: str, reply: Reply) -> bool:
        """Send a message over a connection that looks alive; without one, nothing has been sent."""
        connection = self._connection
        if connection is None or connection.state is not State.OPEN:
            return False
        self._exchange.expect(reply)
        with suppress(ConnectionClosed):  # who reads will meet it too, and then the answer is lost
            await connection.send(message)  # goes out before this first waits, so in the order of `expect`
        return True

    # -- who waits, reads ----------------------------------------------------------------------------------------------

    async def _until(self, done: Callable[[], bool]) -> None:
        """Read, or wait while another task does, until `done`."""
        while not done():
            if self._reading is not None:
                await asyncio.wait([self._reading])
                continue
            self._reading = asyncio.get_running_loop().create_future()
            try:
                await self._step()
            finally:
                self._reading.set_result(None)
                self._reading = None

    async def _step(self) -> None:
        """Take one message, or get a connection."""
        connection = self._connection
        try:
            if connection is None:
                await self._connect()
            else:
                self._exchange.receive(await connection.recv())
        except (ConnectionClosed, KvtapeError) as error:
            self._connection = None
            delay = self._exchange.broken(error if isinstance(error, KvtapeError) else None)
            self._retry_at = asyncio.get_running_loop().time() + delay
            if connection is not None:
                await connection.close()

    async def _connect(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout_at(self._retry_at):
                await self._closed.wait()
        if self._exchange.over is None:
            connection = await dial_async(self._settings, self._exchange.path())
            if self._exchange.over is None:
                self._connection = connection
            else:
                await connection.close()
