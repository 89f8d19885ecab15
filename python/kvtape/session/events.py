"""Who listens to a session: bounded queues, one a subscriber, so that a slow reader slows nobody down."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import ClassVar

__all__ = ["DataUpdated", "EventHub", "FlashReady", "NumberedEvent", "SessionEvent", "Subscription"]


@dataclass(frozen=True, slots=True)
class DataUpdated:
    """The context changed for good: a new data version is resident."""

    version: int
    n_tokens: int  # length of the durable context
    n_pending: int  # rows and texts acknowledged that are not part of it
    n_rows: int  # rows in the context
    n_dropped: int = 0  # of all that was pushed, what has never become part of it
    changed: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class FlashReady:
    """A flash query has an answer for `version`."""

    query_id: int
    query: str
    value: str
    version: int
    confidence: float  # logit gap between the two best first tokens
    evaluated_at: int  # Unix seconds
    probabilities: Mapping[str, float] | None = None  # of the declared choices, if there are such
    coverage: float | None = None
    changed: bool = True  # whether the value is another than that before it


SessionEvent = DataUpdated | FlashReady


@dataclass(frozen=True, slots=True)
class NumberedEvent:
    """An event and its place among all of the session, counted from 1."""

    number: int
    event: SessionEvent


class Subscription:
    """The queue of one reader. A reader that falls more than `capacity` events behind is cut off.

    What else is to reach the reader, between the events, goes through the same queue as text.

    Args:
        capacity: how many events may wait.
        changes_only: leave out answers to flash queries that say what the one before them said.

    Attributes:
        after: number of the last event that is not in the queue.
        resumed: whether that is what the reader asked for.
    """

    def __init__(self, capacity: int, *, after: int = 0, resumed: bool = False, changes_only: bool = False) -> None:
        self.after = after
        self.resumed = resumed
        self._changes_only = changes_only
        self._capacity = capacity
        self._events: deque[NumberedEvent | str] = deque()
        self._wake = asyncio.Event()
        self._taken = asyncio.Event()
        self.ended = False

    def put(self, event: NumberedEvent | str) -> None:
        """Queue an event, or end the subscription when its queue is full."""
        if self._changes_only and isinstance(event, NumberedEvent) and not event.event.changed:
            return
        self._taken.clear()
        if len(self._events) >= self._capacity:
            self._events.clear()
            self.end()
        if not self.ended:
            self._events.append(event)
            self._wake.set()

    def end(self) -> None:
        """Let the reader see what is queued, then the end."""
        self.ended = True
        self._wake.set()

    async def taken(self) -> None:
        """Wait until the reader has dealt with everything that is queued."""
        await self._taken.wait()

    async def batches(self) -> AsyncGenerator[list[NumberedEvent | str], None]:
        """Yield queued events as they come."""
        while True:
            if not self._events:
                self._taken.set()
            await self._wake.wait()
            events = list(self._events)
            self._events.clear()
            if self.ended:
                if events:
                    yield events
                return
            self._wake.clear()
            yield events


class EventHub:
    """All subscriptions of a session, and its last `capacity` events for readers that come back."""

    def __init__(self, *, capacity: int = 1024) -> None:
        self._capacity = capacity
        self._subscriptions: set[Subscription] = set()
        self._history: deque[NumberedEvent] = deque(maxlen=capacity)
        self._number = 0

    def __len__(self) -> int:
        return len(self._subscriptions)

    def subscribe(self, after: int | None = None, *, changes_only: bool = False) -> Subscription:
        """Open a queue that sees every event from now on, or from behind the one with the number `after`.

        A number that was never given, or after which events are gone already, counts as none. With `changes_only`, a
        flash query is heard of only when its value is another one.
        """
        oldest = self._history[0].number if self._history else self._number + 1
        resumed = after is not None and oldest - 1 <= after <= self._number
        start = self._number if after is None or not resumed else after
        subscription = Subscription(self._capacity, after=start, resumed=resumed, changes_only=changes_only)
        for missed in self._history:
            if missed.number > start:
                subscription.put(missed)
        self._subscriptions.add(subscription)
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """Forget a queue."""
        self._subscriptions.discard(subscription)

    def publish(self, event: SessionEvent) -> None:
        """Queue an event for everybody."""
        self._number += 1
        numbered = NumberedEvent(self._number, event)
        self._history.append(numbered)
        for subscription in list(self._subscriptions):
            subscription.put(numbered)
            if subscription.ended:
                self.unsubscribe(subscription)

    def close(self) -> None:
        """End every subscription."""
        for subscription in list(self._subscriptions):
            subscription.end()
        self._subscriptions.clear()
