"""Bounded, lock-free queues of rows between one producer and one consumer, in one process or over shared memory."""

from __future__ import annotations

import weakref
from typing import Any, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from kvtape._native import _core
from kvtape.errors import InvalidRequest

__all__ = [
    "ROW_TYPES",
    "Overflow",
    "RingBuffer",
    "RingCounters",
    "RowType",
    "SharedRing",
    "SharedRingWriter",
    "WaitPolicy",
]

Overflow = Literal["drop_newest", "drop_oldest"]
WaitPolicy = Literal["spin", "yield", "park"]


class RowType(NamedTuple):
    """Rows of a shared ring: the number that the memory names them by, for ever, and their layout."""

    id: int
    dtype: np.dtype[Any]  # a multiple of 8 bytes


def _row(**fields: str) -> np.dtype[Any]:
    return np.dtype([("timestamp", "i8"), *fields.items()], align=True)


#: Row types of shared rings by name, laid out as a session's; `kvtape_shared_ring.h` has the same as C structs.
ROW_TYPES = {
    "ohlcv": RowType(1, _row(o="f8", h="f8", l="f8", c="f8", v="f8", sym="u2")),
    "iot": RowType(2, _row(sid="u2", val="f8", lo="f8", hi="f8")),
    "spatial": RowType(3, _row(x="f8", y="f8", z="f8", spd="f8", hdg="f8")),
    "event": RowType(4, _row(src="u2", sev="i8", cat="u2", cnt="i8")),
    "vitals": RowType(5, _row(hr="f8", bp_s="f8", bp_d="f8", spo2="f8", temp="f8")),
}


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


class SharedRing:
    """A ring of rows in shared memory, read here and written by a feed handler in another process or language.

    Made by `create` or `resume`. The feed handler opens it by name, with `SharedRing.open` or with the C header
    `kvtape_shared_ring.h`. Either side may die at any point, and the other goes on. What the rows hold is the writer's
    word: check it.
    """

    def __init__(self, name: str, core: _core.SharedRing) -> None:
        self.name = name
        self._core = core
        self._finalizer = weakref.finalize(self, core.close)  # also when the interpreter ends
        self.row_type, self.dtype = _row_type(name, core)

    @classmethod
    def create(cls, name: str, row_type: str, *, capacity: int = 4096, overflow: Overflow = "drop_newest") -> Self:
        """Make an empty ring of `capacity` rows, a power of two, and become its reader.

        A ring of this name whose reader died is closed: its writer is told at the next push, and opens this one.

        Args:
            name: 1 to 200 of `A-Z a-z 0-9 . _ -`, not beginning with a dot; the memory is `/dev/shm/kvtape.NAME`, for
                this user alone.
            row_type: a key of ROW_TYPES.
            overflow: when the ring is full, "drop_newest" refuses at the writer, "drop_oldest" overwrites the oldest.

        Raises:
            InvalidRequest: a name, row type or capacity that cannot be.
            Conflict: the ring of this name has a reader that lives.
            OSError: no room in /dev/shm, or the name is taken by something else.
        """
        if row_type not in ROW_TYPES:
            raise InvalidRequest(
                f"shared ring: row_type must be one of {', '.join(ROW_TYPES)}, found {row_type!r}", param="row_type"
            )
        if capacity < 1 or capacity & (capacity - 1):
            raise InvalidRequest(f"shared ring: capacity must be a power of two, found {capacity}", param="capacity")
        number, dtype = ROW_TYPES[row_type]
        return cls(name, _core.SharedRing.create(name, number, dtype.itemsize, capacity, overflow))

    @classmethod
    def resume(cls, name: str) -> Self:
        """Become the reader of a ring whose reader died, with the rows and the counters that are in it.

        Raises:
            NotFound: there is no such ring.
            Conflict: its reader lives.
            OSError: what has this name is no ring that this version can use.
        """
        return cls(name, _core.SharedRing.resume(name))

    @staticmethod
    def open(name: str) -> SharedRingWriter:
        """Become the writer of the ring of this name.

        Raises:
            NotFound: there is no such ring.
            Conflict: another writer lives.
            OSError: what has this name is no ring that this version can use.
        """
        return SharedRingWriter(name)

    def pop(self, max_rows: int) -> NDArray[Any]:
        """Remove and return up to max_rows rows [n], oldest first; empty where there are none.

        Raises:
            OSError: the writer's counters cannot be; nothing was removed.
        """
        return self._core.pop(max_rows).view(self.dtype)

    def wait(self, timeout: float | None = None, *, policy: WaitPolicy = "park") -> bool:
        """Wait for rows without the GIL: whether there are any. False after `timeout` seconds.

        Raises:
            InvalidRequest: the ring is closed, be it while waiting.
        """
        return self._core.wait(policy, timeout)

    def __len__(self) -> int:
        return len(self._core)

    @property
    def capacity(self) -> int:
        """Most rows the ring holds."""
        return self._core.capacity

    @property
    def counters(self) -> RingCounters:
        """Totals since the ring was made, whoever read and wrote it."""
        return RingCounters(*self._core.counters())

    @property
    def has_writer(self) -> bool:
        """Whether a writer has opened the ring and lives."""
        return self._core.has_writer()

    def close(self) -> None:
        """Leave the ring and take its name away; the writer is told at its next push."""
        self._finalizer()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class SharedRingWriter:
    """The writing side of a SharedRing; `SharedRing.open` makes it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._core = _core.SharedRingWriter(name)
        self._finalizer = weakref.finalize(self, self._core.close)
        self.row_type, self.dtype = _row_type(name, self._core)

    def push(self, rows: NDArray[Any] | np.void) -> int:
        """Append rows [n], or one row; return how many were taken, always the first ones.

        Raises:
            NotFound: the reader has closed the ring; open it again to find its successor.
            TypeError: another dtype, or rows that are not contiguous.
        """
        if rows.dtype != self.dtype:
            raise TypeError(f"shared ring: rows have dtype {rows.dtype}, wanted {self.dtype}")
        return self._core.push(np.asarray(rows))

    @property
    def capacity(self) -> int:
        """Most rows the ring holds."""
        return self._core.capacity

    @property
    def n_pushed(self) -> int:
        """Rows that entered the ring since it was made, those of earlier writers too."""
        return self._core.n_pushed

    @property
    def room(self) -> int:
        """Rows that fit right now; a push of so many drops and refuses nothing."""
        return self._core.room()

    @property
    def has_reader(self) -> bool:
        """Whether a reader has the ring and lives."""
        return self._core.has_reader()

    def close(self) -> None:
        """Leave the ring; another writer may open it."""
        self._finalizer()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _row_type(name: str, core: _core.SharedRing | _core.SharedRingWriter) -> tuple[str, np.dtype[Any]]:
    for row_type, (number, dtype) in ROW_TYPES.items():
        if (number, dtype.itemsize) == (core.row_type, core.item_bytes):
            return row_type, dtype
    core.close()
    raise InvalidRequest(
        f"shared ring {name!r}: rows of type {core.row_type}, {core.item_bytes} bytes each, are not known here"
    )
