"""A session's WebSocket, blocking: pushes that are acknowledged, and events, over as many connections as it takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from threading import Condition, Lock
from types import TracebackType
from typing import Self

from websockets.exceptions import ConnectionClosed
from websockets.protocol import State
from websockets.sync.client import ClientConnection

from kvtape.client.call import Settings
from kvtape.client.layerscale.dial import dial
from kvtape.client.layerscale.exchange import CLOSE, Exchange, Reply
from kvtape.client.layerscale.session_calls import Data
from kvtape.client.layerscale.trail import Event, Trail
from kvtape.errors import KvtapeError
from kvtape.protocols.layerscale import models

__all__ = ["SessionSocket"]


class SessionSocket(Iterator[Event]):
    """Use it as a context; iterate over it for the session's events, until the session is deleted.

    Nothing runs in the background. Whoever waits, for an event or for the answer to a push, reads what comes and mends
    the connection, also for others that wait in other threads. Events go on behind the last one, as with `events`.
    """

    def __init__(self, settings: Settings, session_id: str, trail: Trail) -> None:
        self._settings = settings
        self._exchange = Exchange(session_id, trail)
        self._connection: ClientConnection | None = None
        self._retry_at = 0.0
        self._sending = Lock()
        self._changed = Condition()  # guards the three above
        self._is_reading = False

    @property
    def last_event_id(self) -> int | None:
        """Number of the event seen last: where another reader would go on."""
        return self._exchange.trail.last_event_id

    def push(self, data: Data, *, timeout: float | None = None) -> models.PushResult:
        """Queue rows of the session's type, or text, and wait for the acknowledgement.

        Raises:
            InvalidRequest: the data is malformed; nothing was queued.
            Unacknowledged: the connection broke, or `timeout` seconds passed, before the answer came. The data may or
                may not have been queued; it is not sent again.
            NotFound: the session is gone.
            Disconnected: the server has been away for about a minute; nothing was sent.
        """
        result = self._ask(data, timeout).result
        assert result is not None
        return result

    def ping(self, *, timeout: float | None = None) -> None:
        """Ask whether the server is there.

        Raises:
            Disconnected: it is not.
        """
        self._ask(None, timeout)

    def receive(self, *, timeout: float | None = None) -> Event | None:
        """Return the next event; None: the session is gone, or this was closed.

        Raises:
            TimeoutError: there was none for `timeout` seconds.
            Overloaded: events were dropped, for too many came while only answers were waited for.
            Disconnected: the server has been away for about a minute.
        """
        deadline = _deadline(timeout)
        while True:
            self._until(self._exchange.has_news, deadline)
            with self._changed:
                if self._exchange.has_news():  # nobody else has taken it
                    return self._exchange.take_event()

    def __next__(self) -> Event:
        if (event := self.receive()) is None:
            raise StopIteration
        return event

    def close(self) -> None:
        """End the connection, and what waits for it in other threads."""
        with self._changed:
            self._exchange.close()
            connection, self._connection = self._connection, None
            self._changed.notify_all()
        if connection is not None:
            with suppress(ConnectionClosed):
                connection.send(CLOSE)
            connection.close()

    def __enter__(self) -> Self:
        try:
            self._until(lambda: self._connection is not None or self._exchange.over is not None, None)
            if self._exchange.over is not None:
                raise self._exchange.over
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, data: Data | None, timeout: float | None) -> Reply:
        message, reply, deadline = self._exchange.encode(data), Reply(data), _deadline(timeout)
        while not self._send(message, reply):
            self._until(self._is_connected, deadline)
            if self._exchange.over is not None:
                raise self._exchange.over
        try:
            self._until(lambda: reply.is_there, deadline)
        except TimeoutError:
            raise reply.lost(f"no answer for {timeout} s") from None
        if reply.error is not None:
            raise reply.error
        return reply

    def _is_connected(self) -> bool:
        connection = self._connection
        return self._exchange.over is not None or (connection is not None and connection.state is State.OPEN)

    def _send(self, message: str, reply: Reply) -> bool:
        """Send a message over a connection that looks alive; without one, nothing has been sent."""
        with self._sending:
            with self._changed:
                connection = self._connection
                if connection is None or connection.state is not State.OPEN:
                    return False
                self._exchange.expect(reply)
            with suppress(ConnectionClosed):  # who reads will meet it too, and then the answer is lost
                connection.send(message)
            return True

    # -- who waits, reads ----------------------------------------------------------------------------------------------

    def _until(self, done: Callable[[], bool], deadline: float | None) -> None:
        """Read, or wait while another thread does, until `done`.

        Raises:
            TimeoutError: the deadline has passed.
        """
        while True:
            with self._changed:
                while self._is_reading and not done():
                    if not self._changed.wait(_remaining(deadline)):
                        raise TimeoutError
                if done():
                    return
                self._is_reading = True
            try:
                self._step(deadline)
            finally:
                with self._changed:
                    self._is_reading = False
                    self._changed.notify_all()

    def _step(self, deadline: float | None) -> None:
        """Take one message, or get a connection."""
        connection = self._connection
        try:
            if connection is None:
                self._connect(deadline)
            else:
                self._exchange.receive(connection.recv(_remaining(deadline)))
        except (ConnectionClosed, KvtapeError) as error:
            with self._changed:
                self._connection = None
                delay = self._exchange.broken(error if isinstance(error, KvtapeError) else None)
            self._retry_at = time.monotonic() + delay
            if connection is not None:
                connection.close()

    def _connect(self, deadline: float | None) -> None:
        pause = max(0.0, self._retry_at - time.monotonic())
        remaining = _remaining(deadline)
        with self._changed:
            if self._changed.wait_for(lambda: self._exchange.over is not None, _shorter(pause, remaining)):
                return
        if remaining is not None and remaining <= pause:
            raise TimeoutError
        connection = dial(self._settings, self._exchange.path())
        with self._changed:
            if self._exchange.over is None:
                self._connection = connection
                return
        connection.close()


def _deadline(timeout: float | None) -> float | None:
    return None if timeout is None else time.monotonic() + timeout


def _remaining(deadline: float | None) -> float | None:
    return None if deadline is None else max(0.0, deadline - time.monotonic())


def _shorter(pause: float, remaining: float | None) -> float:
    return pause if remaining is None else min(pause, remaining)
