"""A session's WebSocket without the socket: messages out, answers to them in the same order, events between."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import msgspec

from kvtape.client.errors import Disconnected, Unacknowledged, error_of_status
from kvtape.client.layerscale.session_calls import Data, path_of
from kvtape.client.layerscale.trail import EVENT_TYPES, Event, Trail
from kvtape.errors import EngineFailed, InvalidRequest, KvtapeError, NotFound, Overloaded
from kvtape.protocols.layerscale import models

__all__ = ["CLOSE", "Exchange", "Reply"]

CLOSE = '{"type":"close"}'

MAX_MESSAGE_BYTES = 16 << 20  # the server ends the connection at a longer one
MAX_EVENTS = 1024  # read on the way to an answer and not fetched; more than a server keeps for us would be no use


class _Envelope(msgspec.Struct):
    type: str
    data: msgspec.Raw = msgspec.Raw(b"{}")
    id: int | None = None


class _Error(msgspec.Struct):
    message: str
    code: int = 500
    param: str | None = None


@dataclass(slots=True)
class Reply:
    """The answer to a message, once there is one. `data` is what was pushed, None with a ping."""

    data: Data | None
    result: models.PushResult | None = None
    error: KvtapeError | None = None
    is_there: bool = False

    def set(self, result: models.PushResult | None = None, error: KvtapeError | None = None) -> None:
        """Answer."""
        self.result, self.error, self.is_there = result, error, True

    def lost(self, why: str) -> KvtapeError:
        """Return what to raise when the answer does not come."""
        if self.data is None:
            return Disconnected(f"no answer to a ping: {why}")
        return Unacknowledged(f"the push may or may not have been queued: {why}", data=self.data)


class Exchange:
    """What is owed by the server, and what came beside it.

    Attributes:
        over: why nothing more will come; None: something may.
    """

    def __init__(self, session_id: str, trail: Trail) -> None:
        self.trail = trail
        self.over: KvtapeError | None = None
        self._session_id = session_id
        self._waiting: deque[Reply] = deque()
        self._events: deque[Event] = deque()
        self._n_dropped = 0
        self._is_quiet = False  # the end was to be expected

    def path(self) -> str:
        """Return where to connect, behind the event seen last."""
        query = {"changes_only": "true"} if self.trail.changes_only else {}
        if (last := self.trail.last_event_id) is not None:
            query["last_event_id"] = str(last)
        return path_of(self._session_id, f"/ws?{urlencode(query)}" if query else "/ws")

    # -- out -----------------------------------------------------------------------------------------------------------

    def encode(self, data: Data | None) -> str:
        """Return a push of `data`, or a ping without any, as a message.

        Raises:
            InvalidRequest: it is longer than a server takes.
        """
        message: dict[str, Any] = {"type": "ping"}
        if data is not None:
            message = {"type": "push", "data": data if isinstance(data, str) else list(data)}
        content = msgspec.json.encode(message)
        if len(content) > MAX_MESSAGE_BYTES:
            raise InvalidRequest(
                f"a push over a WebSocket has at most {MAX_MESSAGE_BYTES} bytes, this one has {len(content)}",
                param="data",
            )
        return content.decode()

    def expect(self, reply: Reply) -> None:
        """Note that a message is about to be sent."""
        self._waiting.append(reply)

    # -- in ------------------------------------------------------------------------------------------------------------

    def receive(self, text: str | bytes) -> None:
        """Take a message of the server's."""
        message = msgspec.json.decode(text, type=_Envelope)
        if message.type in EVENT_TYPES:
            event = msgspec.json.decode(message.data, type=EVENT_TYPES[message.type])
            if self.trail.takes(event, message.id):
                self._keep(event)
        elif message.type == "push_ack":
            self._answer(result=msgspec.json.decode(message.data, type=models.PushResult))
        elif message.type == "pong":
            self._answer()
        elif message.type == "error":
            error = msgspec.json.decode(message.data, type=_Error)
            self._answer(error=error_of_status(error.code, error.message, param=error.param))

    def _answer(self, result: models.PushResult | None = None, error: KvtapeError | None = None) -> None:
        if self._waiting:  # a server answers in order, and says nothing unasked
            self._waiting.popleft().set(result, error)

    def _keep(self, event: Event) -> None:
        if len(self._events) >= MAX_EVENTS:
            self._events.popleft()
            self._n_dropped += 1
        self._events.append(event)

    def has_news(self) -> bool:
        """Whether `take_event` has something to say."""
        return bool(self._events) or self.over is not None

    def take_event(self) -> Event | None:
        """Return the oldest event; None: there will be none.

        Raises:
            Overloaded: events were dropped before it, for nobody fetched them.
            KvtapeError: why there will be none, unless the session or this side has ended it.
        """
        if self._n_dropped:
            n_dropped, self._n_dropped = self._n_dropped, 0
            raise Overloaded(f"{n_dropped} events were dropped because nobody read them")
        if self._events:
            return self._events.popleft()
        if self.over is not None and not self._is_quiet:
            raise self.over
        return None

    # -- the end -------------------------------------------------------------------------------------------------------

    def broken(self, error: KvtapeError | None) -> float:
        """Take note that the connection is gone, and with it all answers. Returns how long to wait before the next.

        Where there will be no next one, `over` says why.
        """
        if self.over is not None:
            return 0.0
        self._lose(str(error or "the server ended the connection"))
        try:
            delay = self.trail.broken(error)
        except KvtapeError as final:
            self.over = final
            return 0.0
        if delay is None:
            self._end(NotFound(f"session {self._session_id!r} is gone"))
        return delay or 0.0

    def close(self) -> None:
        """Take note that this side has ended it."""
        self._lose("the WebSocket was closed")
        self._end(EngineFailed("the WebSocket is closed"))

    def _end(self, why: KvtapeError) -> None:
        if self.over is None:
            self.over, self._is_quiet = why, True

    def _lose(self, why: str) -> None:
        while self._waiting:
            reply = self._waiting.popleft()
            reply.set(error=reply.lost(why))
