"""A bounded, lock-free queue of rows between one producer and one consumer."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from kvtape._native import _core
from kvtape.errors import InvalidRequest

__all__ = ["Overflow", "RingBuffer", "RingCounters"]

Overflow = Literal["drop_newest", "drop_oldest"]


class RingCounters(NamedTuple):
    """Totals of a ring in rows. With both sides quiet, pushed = popped + dropped + len(ring) exactly."""

    pushed: int  # entered the ring
    popped: int  # reached the consumer
    dropped: int  # entered, and were overwritten before the consumer came (drop_oldest)
    refused: int  # were offered and never entered (drop_newest)


class RingBuffer:
    """Rows of one numpy dtype, first in, first out, at most `capacity` of them.

    One side pushes, the other pops; they may be different threads. Python threads of the *same* side take turns under
    the GIL, each call being one turn. Native code must not join a side that Python uses.

    Args:
        dtype: of a row; structured dtypes are the usual case. No Python objects inside.
        capacity: in rows, a power of two.
        overflow: when the ring is full, "drop_newest" takes what fits and refuses the rest, "drop_oldest" takes all and
            drops the oldest rows.

    Raises:
        InvalidRequest: capacity is not a power of two, or the dtype holds objects or has no size.
    """

    def __init__(self, dtype: DTypeLike, capacity: int, *, overflow: Overflow = "drop_newest") -> None:
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        if self.dtype.hasobject or self.dtype.itemsize == 0:
            raise InvalidRequest(
                f"ring: rows must be plain values of a fixed size, found dtype {self.dtype}", param="dtype"
            )
        if capacity < 1 or capacity & (capacity - 1):
            raise InvalidRequest(f"ring: capacity must be a power of two, found {capacity}", param="capacity")
        self._core = _core.RingBuffer(capacity, self.dtype.itemsize, overflow)

    def push(self, rows: NDArray[Any]) -> int:
        """Append rows [n]; return how many were taken, always the first ones.

        Raises:
            TypeError: another dtype, or rows that are not contiguous.
        """
        if rows.dtype != self.dtype:
            raise TypeError(f"ring: rows have dtype {rows.dtype}, wanted {self.dtype}")
        return self._core.push(rows)

    def pop(self, max_rows: int) -> NDArray[Any]:
        """Remove and return up to max_rows rows [n], oldest first; empty where there are none."""
        return self._core.pop(max_rows).view(self.dtype)

    def __len__(self) -> int:
        return len(self._core)

    @property
    def capacity(self) -> int:
        """Most rows the ring holds."""
        return self._core.capacity

    @property
    def counters(self) -> RingCounters:
        """Totals since the ring was made."""
        return RingCounters(*self._core.counters())
