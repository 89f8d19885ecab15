"""How far a reader of a session's events has come, so that a broken stream goes on behind the event seen last."""

from __future__ import annotations

from kvtape.client.retry import RETRY, Backoff, is_passing
from kvtape.errors import KvtapeError, NotFound
from kvtape.protocols.layerscale import models

__all__ = ["EVENT_TYPES", "Event", "Trail"]

Event = models.Connected | models.DataUpdated | models.FlashReady

EVENT_TYPES: dict[str, type[Event]] = {
    "connected": models.Connected,
    "data_updated": models.DataUpdated,
    "flash_ready": models.FlashReady,
}


class Trail:
    """The place of one reader, over all of its connections.

    A connection that goes on where the last one broke off begins with `connected` and the number that was asked for;
    that one is not shown. Any other is: events before it may be missing, and the current answers follow.

    Attributes:
        last_event_id: number of the event seen last; None before the first, and with servers that number nothing.
        changes_only: whether answers that say what they said before are left out.
    """

    def __init__(self, backoff: Backoff, last_event_id: int | None = None, *, changes_only: bool = False) -> None:
        self.last_event_id = last_event_id
        self.changes_only = changes_only
        self._backoff = backoff
        self._n_failures = 0
        self._has_connected = False

    def takes(self, event: Event, number: int | None) -> bool:
        """Go on to an event; whether it is to be shown."""
        self._n_failures = 0
        self._has_connected = True
        last, is_first = self.last_event_id, isinstance(event, models.Connected)
        if number is None:
            if is_first:  # until a number comes, there is no place to go on from
                self.last_event_id = None
            return True
        if last is not None and (number == last if is_first else number <= last):
            return False
        self.last_event_id = number
        return True

    def broken(self, error: KvtapeError | None) -> float | None:
        """Return how long to wait before the next connection, after one ended; None: the session is gone.

        Raises:
            KvtapeError: `error`, if it will not pass, or has not for long.
        """
        if isinstance(error, NotFound) and self._has_connected:
            return None
        if error is not None and not is_passing(error):
            raise error
        self._n_failures += 1
        # Who has never been there has perhaps the wrong address, and is not to wait for a minute to learn it.
        n_tries = self._backoff.tries if self._has_connected else RETRY.tries
        delay = self._backoff.delay(self._n_failures) if self._n_failures <= n_tries else None
        if delay is None:
            raise error or KvtapeError("the server ends the stream of events again and again before it has begun")
        return delay
