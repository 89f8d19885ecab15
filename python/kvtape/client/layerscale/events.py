"""The events of a session as one stream, however often the connection breaks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from contextlib import aclosing, closing
from types import TracebackType
from typing import Self

import httpx
import msgspec

from kvtape.client.call import Settings, StreamCall
from kvtape.client.layerscale.session_calls import path_of
from kvtape.client.layerscale.trail import EVENT_TYPES, Event, Trail
from kvtape.client.transport import AsyncTransport, Transport
from kvtape.errors import KvtapeError
from kvtape.protocols.sse import SseEvent

__all__ = ["AsyncEvents", "Event", "Events"]

SILENCE_SECONDS = 45.0  # three heartbeats; after that the connection is as good as broken


def _call(session_id: str, settings: Settings, trail: Trail) -> StreamCall[SseEvent]:
    headers = {} if trail.last_event_id is None else {"last-event-id": str(trail.last_event_id)}
    timeout = httpx.Timeout(SILENCE_SECONDS, connect=settings.timeout.connect)
    path = path_of(session_id, "/events?changes_only=true" if trail.changes_only else "/events")
    return StreamCall("GET", path, lambda frame: frame, lambda frame: False, headers=headers, timeout=timeout)


def _read(frame: SseEvent, trail: Trail) -> Event | None:
    if frame.event not in EVENT_TYPES:  # newer servers may know more
        return None
    event = msgspec.json.decode(frame.data, type=EVENT_TYPES[frame.event])
    return event if trail.takes(event, int(frame.id) if frame.id.isdecimal() else None) else None


class Events(Iterator[Event]):
    """Events of a session, until it is deleted. Leave it with `close` or as a context.

    A break is mended unseen where nothing is lost by it; after one that may have lost events comes another `Connected`,
    and the current answers.

    Raises, while it is read:
        NotFound: there never was such a session.
        Disconnected: the server has been away for about a minute.
        KvtapeError: the server refuses.
    """

    def __init__(self, transport: Transport, session_id: str, trail: Trail) -> None:
        self._trail = trail
        self._events = self._follow(transport, session_id)

    @property
    def last_event_id(self) -> int | None:
        """Number of the event seen last: where another reader would go on."""
        return self._trail.last_event_id

    def _follow(self, transport: Transport, session_id: str) -> Generator[Event, None, None]:
        trail, error = self._trail, None
        while True:
            try:
                with closing(transport.frames(_call(session_id, transport.settings, trail))) as frames:
                    for frame in frames:
                        if (event := _read(frame, trail)) is not None:
                            yield event
                error = None
            except KvtapeError as broken:
                error = broken
            if (delay := trail.broken(error)) is None:
                return
            time.sleep(delay)

    def __next__(self) -> Event:
        return next(self._events)

    def close(self) -> None:
        """Disconnect."""
        self._events.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncEvents(AsyncIterator[Event]):
    """As `Events`, for an event loop."""

    def __init__(self, transport: AsyncTransport, session_id: str, trail: Trail) -> None:
        self._trail = trail
        self._events = self._follow(transport, session_id)

    @property
    def last_event_id(self) -> int | None:
        """As `Events.last_event_id`."""
        return self._trail.last_event_id

    async def _follow(self, transport: AsyncTransport, session_id: str) -> AsyncGenerator[Event, None]:
        trail, error = self._trail, None
        while True:
            try:
                async with aclosing(transport.frames(_call(session_id, transport.settings, trail))) as frames:
                    async for frame in frames:
                        if (event := _read(frame, trail)) is not None:
                            yield event
                error = None
            except KvtapeError as broken:
                error = broken
            if (delay := trail.broken(error)) is None:
                return
            await asyncio.sleep(delay)

    async def __anext__(self) -> Event:
        return await anext(self._events)

    async def aclose(self) -> None:
        """Disconnect."""
        await self._events.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()
