"""How long things took, as histograms that add up over sessions and time."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from itertools import accumulate

__all__ = ["BOUNDS", "Histogram", "SessionTimings"]

#: Upper ends of the buckets, in seconds: from a lookup to a long prefill. What is longer is in one more.
BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Histogram:
    """Counts of durations by bucket, a duration that equals a bound belonging to that bucket."""

    def __init__(self) -> None:
        self.sum = 0.0  # seconds
        self._counts = [0] * (len(BOUNDS) + 1)

    def observe(self, seconds: float) -> None:
        """Count one."""
        self.sum += seconds
        self._counts[bisect_left(BOUNDS, seconds)] += 1

    def cumulative(self) -> list[int]:
        """Return how many took at most as long as each bound, and last how many there were at all."""
        return list(accumulate(self._counts))


@dataclass(slots=True)
class SessionTimings:
    """Of all sessions of a manager."""

    settled: Histogram = field(default_factory=Histogram)  # from a push to the data version that holds it
    flash: Histogram = field(default_factory=Histogram)  # all stale queries of a session, evaluated together
    #: from a question, waiting included, to its last token, by where the answer came from
    question: dict[str, Histogram] = field(
        default_factory=lambda: {source: Histogram() for source in ("model", "flash", "ready")}
    )
