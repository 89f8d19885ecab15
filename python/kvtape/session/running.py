"""Running figures of one column of rows, in constant memory and exact for any batches."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

__all__ = ["Extreme", "RunningMean", "Runs", "finite"]


class RunningMean:
    """A mean whose sum is kept with Neumaier's correction, so that a long day of small batches stays exact."""

    def __init__(self) -> None:
        self._n = 0
        self._sum = self._rest = 0.0  # the rest is what rounding has cost the sum so far

    def add(self, values: NDArray[np.float64]) -> None:
        """Add values [n]."""
        batch = math.fsum(values.tolist())
        total = self._sum + batch
        if abs(self._sum) >= abs(batch):
            self._rest += (self._sum - total) + batch
        else:
            self._rest += (batch - total) + self._sum
        self._sum = total
        self._n += len(values)

    @property
    def total(self) -> float:
        """The sum."""
        return self._sum + self._rest

    @property
    def mean(self) -> float:
        """The mean, 0 of nothing."""
        return self.total / self._n if self._n else 0.0


class Extreme:
    """The largest value, or the smallest, and the index of its first occurrence; zeros before the first value."""

    def __init__(self, *, smallest: bool = False) -> None:
        self.value = 0.0
        self.index = 0
        self._smallest = smallest
        self._n = 0

    def add(self, values: NDArray[np.float64]) -> None:
        """Add values [n]."""
        if not len(values):
            return
        at = int(values.argmin() if self._smallest else values.argmax())
        value = float(values[at])
        if not self._n or (value < self.value if self._smallest else value > self.value):
            self.value, self.index = value, self._n + at
        self._n += len(values)


class Runs:
    """How many runs of consecutive true values there were; one that goes on in the next batch is one run."""

    def __init__(self) -> None:
        self.count = 0
        self._last = False

    def add(self, values: NDArray[np.bool_]) -> None:
        """Add values [n]."""
        flags = [self._last, *values.tolist()]
        self.count += sum(1 for before, now in pairwise(flags) if now and not before)
        self._last = flags[-1]


def finite(value: float) -> float:
    """Return the value, or the largest of its sign: JSON has no infinity."""
    limit = float(np.finfo(np.float64).max)
    return min(max(value, -limit), limit)
