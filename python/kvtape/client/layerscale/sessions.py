"""The methods of live-data sessions; `session_calls` and `question_calls` say what they take and return."""

from __future__ import annotations

import asyncio
import time

from kvtape.client.layerscale import question_calls as questions
from kvtape.client.layerscale import session_calls as calls
from kvtape.client.layerscale.async_socket import AsyncSessionSocket
from kvtape.client.layerscale.events import AsyncEvents, Events
from kvtape.client.layerscale.socket import SessionSocket
from kvtape.client.layerscale.trail import Trail
from kvtape.client.methods import (
    AsyncMethod,
    AsyncResource,
    AsyncStreamMethod,
    Method,
    Resource,
    StreamMethod,
)
from kvtape.errors import EngineFailed
from kvtape.protocols.layerscale import models

__all__ = ["AsyncSessions", "Sessions"]


def _still_waiting(session_id: str, seconds: float) -> EngineFailed:
    return EngineFailed(f"what was pushed to session {session_id} was not resident after {seconds:g} s")


class Sessions(Resource):
    """Live-data sessions."""

    create = Method(calls.create)
    create_text = Method(calls.create_text)
    list = Method(calls.list_sessions)
    get = Method(calls.get)
    state = Method(calls.state)
    delete = Method(calls.delete)
    append = Method(calls.append)
    mark_prefix = Method(calls.mark_prefix)
    slots = Method(calls.slots)
    status = Method(calls.status)
    stats = Method(calls.stats)
    generate = Method(questions.generate)
    generate_stream = StreamMethod(questions.generate_stream)
    warm = Method(questions.warm)
    flash = Method(questions.flash)
    list_flash = Method(questions.list_flash)
    unflash = Method(questions.unflash)

    def push(self, session_id: str, data: calls.Data, *, wait: bool = False) -> models.PushResult:
        """Queue rows of the session's type, or text; with `wait`, return when they are part of the context.

        Raises:
            InvalidRequest: a row is malformed, `param` names it and its field; nothing was queued.
        """
        ack = self._transport.send(calls.push(session_id, data))
        if wait:
            self.wait(session_id, ack)
        return ack

    def wait(
        self, session_id: str, ack: models.PushResult, *, seconds: float = 30.0, interval: float = 0.01
    ) -> models.StreamStatus:
        """Wait until what `ack` acknowledged is part of the context.

        Raises:
            EngineFailed: that took longer than `seconds`.
        """
        deadline = time.monotonic() + seconds
        while not calls.is_resident(status := self.status(session_id), ack):
            if time.monotonic() > deadline:
                raise _still_waiting(session_id, seconds)
            time.sleep(interval)
        return status

    def events(self, session_id: str, *, last_event_id: int | None = None, changes_only: bool = False) -> Events:
        """Read what happens in the session: the current answers first, or what came behind an event.

        With `changes_only`, answers that say what they said before are left out.
        """
        trail = Trail(self._transport.settings.reconnect, last_event_id, changes_only=changes_only)
        return Events(self._transport, session_id, trail)

    def ws(self, session_id: str, *, last_event_id: int | None = None, changes_only: bool = False) -> SessionSocket:
        """Open a WebSocket: data in, events out, as `events`. Use it as a context."""
        trail = Trail(self._transport.settings.reconnect, last_event_id, changes_only=changes_only)
        return SessionSocket(self._transport.settings, session_id, trail)


class AsyncSessions(AsyncResource):
    """As `Sessions`, for an event loop."""

    create = AsyncMethod(calls.create)
    create_text = AsyncMethod(calls.create_text)
    list = AsyncMethod(calls.list_sessions)
    get = AsyncMethod(calls.get)
    state = AsyncMethod(calls.state)
    delete = AsyncMethod(calls.delete)
    append = AsyncMethod(calls.append)
    mark_prefix = AsyncMethod(calls.mark_prefix)
    slots = AsyncMethod(calls.slots)
    status = AsyncMethod(calls.status)
    stats = AsyncMethod(calls.stats)
    generate = AsyncMethod(questions.generate)
    generate_stream = AsyncStreamMethod(questions.generate_stream)
    warm = AsyncMethod(questions.warm)
    flash = AsyncMethod(questions.flash)
    list_flash = AsyncMethod(questions.list_flash)
    unflash = AsyncMethod(questions.unflash)

    async def push(self, session_id: str, data: calls.Data, *, wait: bool = False) -> models.PushResult:
        """As `Sessions.push`."""
        ack = await self._transport.send(calls.push(session_id, data))
        if wait:
            await self.wait(session_id, ack)
        return ack

    async def wait(
        self, session_id: str, ack: models.PushResult, *, seconds: float = 30.0, interval: float = 0.01
    ) -> models.StreamStatus:
        """As `Sessions.wait`."""
        deadline = time.monotonic() + seconds
        while not calls.is_resident(status := await self.status(session_id), ack):
            if time.monotonic() > deadline:
                raise _still_waiting(session_id, seconds)
            await asyncio.sleep(interval)
        return status

    def events(self, session_id: str, *, last_event_id: int | None = None, changes_only: bool = False) -> AsyncEvents:
        """As `Sessions.events`."""
        trail = Trail(self._transport.settings.reconnect, last_event_id, changes_only=changes_only)
        return AsyncEvents(self._transport, session_id, trail)

    def ws(
        self, session_id: str, *, last_event_id: int | None = None, changes_only: bool = False
    ) -> AsyncSessionSocket:
        """As `Sessions.ws`."""
        trail = Trail(self._transport.settings.reconnect, last_event_id, changes_only=changes_only)
        return AsyncSessionSocket(self._transport.settings, session_id, trail)
