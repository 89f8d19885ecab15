"""What may be tried again, and when."""

from __future__ import annotations

import random
from dataclasses import dataclass

from kvtape.client.errors import Disconnected, StatusError
from kvtape.errors import KvtapeError, Overloaded

__all__ = ["RECONNECT", "RETRY", "Backoff", "is_passing", "may_repeat"]


@dataclass(frozen=True, slots=True)
class Backoff:
    """Delays that double from `first` to `most` seconds, each cut by up to a half at random; no more than `tries`."""

    first: float
    most: float
    tries: int

    def delay(self, n_failures: int) -> float | None:
        """Return how long to wait after so many failures in a row, from 1; None: no more tries."""
        if n_failures > self.tries:
            return None
        whole = min(self.most, self.first * 2.0 ** (n_failures - 1))
        return random.uniform(whole / 2, whole)


#: Of requests: twice.
RETRY = Backoff(first=0.5, most=8.0, tries=2)
#: Of streams of events: for about a minute without a single connection.
RECONNECT = Backoff(first=0.1, most=5.0, tries=18)


def may_repeat(method: str, error: KvtapeError) -> bool:
    """Whether a request changes nothing when it comes twice, and failed for a reason that passes."""
    if method != "GET":
        return False
    if isinstance(error, Overloaded):  # others than this one last longer
        return "holding too many request bodies" in str(error)
    return isinstance(error, Disconnected) or (isinstance(error, StatusError) and error.status == 408)


def is_passing(error: KvtapeError) -> bool:
    """Whether a stream of events that met this error may be there again in a moment."""
    if isinstance(error, StatusError):
        return error.status == 408 or error.status >= 500
    return isinstance(error, (Disconnected, Overloaded))
