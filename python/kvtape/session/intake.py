"""Data that a session has accepted and not taken up yet: bounded, in the order in which it came."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kvtape.ring import Overflow as RingOverflow
from kvtape.ring import RingBuffer
from kvtape.session.row_types import RowType
from kvtape.session.spec import Overflow

__all__ = ["MAX_TEXTS", "MAX_TEXT_BYTES", "RING_CAPACITY", "Intake"]

RING_CAPACITY = 16_384  # rows
MAX_TEXTS = 16_384
MAX_TEXT_BYTES = 64 << 20  # of all texts together


class _Text(NamedTuple):
    text: str
    n_bytes: int
    n_rows_before: int  # rows that had entered the ring when it came


class Intake:
    """Rows wait in a lock-free ring, texts beside it; `take` gives them back in the order of their coming.

    When either is full, `drop_newest` and `block` accept what fits, `drop_oldest` accepts all and drops the oldest.
    With `conflate` the newest row of a series takes the place of the one that waits; of a type without series one row
    waits at most. Texts have no series: the oldest are dropped where too many wait.

    Args:
        row_type: of the session; None where it takes texts alone.
        policy: one of `OVERFLOWS`.

    Attributes:
        n_accepted: entries that ever got in.
    """

    def __init__(self, row_type: RowType | None, policy: Overflow) -> None:
        self._keeps_newest = policy in ("drop_oldest", "conflate")
        overflow: RingOverflow = "drop_oldest" if self._keeps_newest else "drop_newest"
        self._ring = RingBuffer(row_type.dtype, RING_CAPACITY, overflow=overflow) if row_type else None
        self._texts: deque[_Text] = deque()
        self._text_bytes = 0
        self.n_accepted = 0
        self._n_replaced = 0
        self._conflates = policy == "conflate"
        self._series = row_type.series if row_type else None
        self._latest: dict[int, np.void] = {}  # of each series, in the order of their coming

    def __len__(self) -> int:
        return self._n_rows + len(self._texts)

    @property
    def n_lost(self) -> int:
        """Entries that got in, and were dropped to make room for others."""
        return self._n_replaced + (self._ring.counters.dropped if self._ring is not None else 0)

    @property
    def n_bytes(self) -> int:
        """Bytes that wait: of rows as they lie in the ring, of texts in UTF-8."""
        return self._n_rows * (self._ring.dtype.itemsize if self._ring is not None else 0) + self._text_bytes

    @property
    def capacity(self) -> int:
        """Most rows, or texts, that can wait."""
        return RING_CAPACITY

    @property
    def room(self) -> int:
        """Rows that would be accepted."""
        return self.capacity if self._keeps_newest else self.capacity - self._n_rows

    @property
    def _n_rows(self) -> int:
        return len(self._latest) + (len(self._ring) if self._ring is not None else 0)

    def put_rows(self, rows: NDArray[np.void]) -> int:
        """Accept rows [n], the first ones where not all fit; returns how many."""
        assert self._ring is not None
        n_accepted = self._put_latest(rows) if self._conflates else self._ring.push(rows)
        self.n_accepted += n_accepted
        return n_accepted

    def put_texts(self, texts: Sequence[str]) -> int:
        """Accept texts, the first ones where not all fit; returns how many."""
        self._flush()  # the rows that wait stay in front of the text
        n_rows_before = self._ring.counters.pushed if self._ring is not None else 0
        n_accepted = 0
        for text in texts:
            entry = _Text(text, len(text.encode()), n_rows_before)
            if not self._keeps_newest and self._is_too_much(1, entry.n_bytes):
                break
            self._texts.append(entry)
            self._text_bytes += entry.n_bytes
            n_accepted += 1
        while self._is_too_much(0, 0):
            self._text_bytes -= self._texts.popleft().n_bytes
            self._n_replaced += 1
        self.n_accepted += n_accepted
        return n_accepted

    def take(self, max_entries: int, max_bytes: int) -> NDArray[np.void] | list[str]:
        """Remove and return the oldest entries, all rows [n] or all texts: texts of `max_bytes`, but one at least."""
        self._flush()
        if self._texts and self._texts[0].n_rows_before <= self._n_rows_gone:
            return self._take_texts(max_entries, max_bytes)
        if self._ring is None:
            return []
        if self._texts:
            max_entries = min(max_entries, self._texts[0].n_rows_before - self._n_rows_gone)
        return self._ring.pop(max_entries)

    def _take_texts(self, max_entries: int, max_bytes: int) -> list[str]:
        taken: list[str] = []
        n_rows_gone, n_bytes = self._n_rows_gone, 0
        while self._texts and len(taken) < max_entries and self._texts[0].n_rows_before <= n_rows_gone:
            n_bytes += self._texts[0].n_bytes
            if taken and n_bytes > max_bytes:
                break
            entry = self._texts.popleft()
            self._text_bytes -= entry.n_bytes
            taken.append(entry.text)
        return taken

    @property
    def _n_rows_gone(self) -> int:
        if self._ring is None:
            return 0
        counters = self._ring.counters
        return counters.popped + counters.dropped

    def _is_too_much(self, n_texts: int, n_bytes: int) -> bool:
        return len(self._texts) + n_texts > MAX_TEXTS or self._text_bytes + n_bytes > MAX_TEXT_BYTES

    def _put_latest(self, rows: NDArray[np.void]) -> int:
        for row in rows:
            series = int(row[self._series]) if self._series else 0
            self._n_replaced += self._latest.pop(series, None) is not None
            self._latest[series] = row.copy()
        return len(rows)

    def _flush(self) -> None:
        if self._latest:
            assert self._ring is not None
            self._ring.push(np.array(list(self._latest.values()), self._ring.dtype))
            self._latest.clear()
