"""The ordered record of everything that entered a session for good; KV is only a cache of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

__all__ = ["EntryKind", "Tape", "TapeEntry"]


class EntryKind(StrEnum):
    """What an entry brought."""

    PROMPT = "prompt"  # the session's opening text
    HEADER = "header"  # what a reader of the rows must know: symbol, tick, units
    ROWS = "rows"
    TEXT = "text"  # a pushed text, or an append
    TURN = "turn"  # a question of a conversation and its answer
    EVICT = "evict"  # the window moved: what stands before `start` is seen no more, from `head_end` on
    REBASE = "rebase"  # all before it was computed afresh, without what had left; it stands at its new positions


@dataclass(frozen=True, slots=True)
class TapeEntry:
    """One durable change. Tokens `[start, start + len(token_ids))` of the session's context came from it."""

    kind: EntryKind
    start: int
    token_ids: NDArray[np.int32]  # [n_tokens]
    at: float  # Unix seconds
    version: int  # data version that made it visible; 0 for what a session is created with
    text: str = ""
    rows: np.ndarray | None = None  # [n_rows] of the session's row type
    row_ends: NDArray[np.int32] | None = None  # [n_rows]: end of each row's tokens, relative to `start`

    @property
    def end(self) -> int:
        """Position behind its last token."""
        return self.start + len(self.token_ids)


@dataclass(slots=True)
class Tape:
    """Entries in the order in which they entered the context, and which of them the window still holds.

    In front stands the head, which never leaves: opening text, header, and what was frozen. A row, a text or a turn
    behind it leaves as a whole. What has left stays on the tape until the next rebase: it is no longer than a context.
    """

    entries: list[TapeEntry] = field(default_factory=list)
    n_tokens: int = 0
    n_rows: int = 0  # ever recorded
    n_row_tokens: int = 0
    head_end: int = 0
    kept_from: int = 0  # the first position behind the head that has not left
    n_evicted: int = 0  # rows, texts and turns that ever left, or were too much for the window to come in at all
    n_evicted_rows: int = 0
    _ends: deque[tuple[int, bool]] = field(default_factory=deque)  # of what can leave: (end, whether a row)

    def __iter__(self) -> Iterator[TapeEntry]:
        return iter(self.entries)

    def record_text(self, kind: EntryKind, text: str, token_ids: Sequence[int], *, at: float, version: int) -> None:
        """Record text that was appended to the context; a prompt or a header makes all before it part of the head."""
        ids = np.asarray(token_ids, dtype=np.int32)
        self.entries.append(TapeEntry(kind, self.n_tokens, ids, at, version, text=text))
        self.n_tokens += len(ids)
        if kind in (EntryKind.PROMPT, EntryKind.HEADER):
            self.freeze()
        else:
            self._ends.extend(_ends(self.entries[-1]))

    def reopen(self, text: str, token_ids: Sequence[int], *, at: float, version: int) -> None:
        """Begin afresh with another prompt; all that there was must be a prompt and turns."""
        assert all(entry.kind in (EntryKind.PROMPT, EntryKind.TURN) for entry in self.entries)
        self.entries, self.n_tokens, self.head_end, self.kept_from = [], 0, 0, 0
        self._ends.clear()
        self.record_text(EntryKind.PROMPT, text, token_ids, at=at, version=version)

    def record_rows(self, rows: np.ndarray, row_ids: Sequence[Sequence[int]], *, at: float, version: int) -> None:
        """Record rows and the tokens of each."""
        ids = np.fromiter((token_id for row in row_ids for token_id in row), dtype=np.int32)
        ends = np.cumsum([len(row) for row in row_ids], dtype=np.int32)
        self.entries.append(TapeEntry(EntryKind.ROWS, self.n_tokens, ids, at, version, rows=rows, row_ends=ends))
        self._ends.extend(_ends(self.entries[-1]))
        self.n_tokens += len(ids)
        self.n_rows += len(rows)
        self.n_row_tokens += len(ids)

    def freeze(self) -> None:
        """Make all that is there part of the head.

        It must not follow something that has left: rebase first.
        """
        assert self.kept_from == self.head_end
        self.head_end = self.kept_from = self.n_tokens
        self._ends.clear()

    @property
    def has_hole(self) -> bool:
        """Whether something has left since the last rebase."""
        return self.kept_from > self.head_end

    @property
    def n_kept(self) -> int:
        """Tokens behind the head that have not left."""
        return self.n_tokens - self.kept_from

    def move_window(self, n_tokens: int, *, at: float, version: int) -> bool:
        """Let the oldest leave, until at most so many tokens or the newest entry are left; returns whether any did."""
        n_before = self.n_evicted
        while len(self._ends) > 1 and self.n_kept > n_tokens:
            self.kept_from, is_row = self._ends.popleft()
            self.n_evicted += 1
            self.n_evicted_rows += is_row
        if self.n_evicted == n_before:
            return False
        self._mark(EntryKind.EVICT, self.kept_from, at, version)
        return True

    def rebase(self, kept_from: int, *, at: float, version: int, n_dropped_turns: int = 0) -> None:
        """Forget what stands between the head and `kept_from`, and the last turns; what follows moves up."""
        has_left = self.kept_from - kept_from
        kept = self._without(kept_from, n_dropped_turns)
        self.entries, self.n_tokens = [], 0
        for entry in kept:
            self.entries.append(replace(entry, start=self.n_tokens))
            self.n_tokens += len(entry.token_ids)
        self.kept_from = self.head_end + has_left
        ends = (end for entry in self.entries for end in _ends(entry))
        self._ends = deque(end for end in ends if end[0] > self.kept_from)
        self._mark(EntryKind.REBASE, self.n_tokens, at, version)
        if self.has_hole:
            self._mark(EntryKind.EVICT, self.kept_from, at, version)

    def token_ids(self, begin: int = 0, end: int | None = None) -> NDArray[np.int32]:
        """Return the ids of positions begin up to end, of all by default, [n_tokens]."""
        end = self.n_tokens if end is None else end
        parts = [
            entry.token_ids[max(begin - entry.start, 0) : max(end - entry.start, 0)]
            for entry in self.entries
            if entry.start < end and entry.end > begin
        ]
        return np.concatenate([np.empty(0, np.int32), *parts])

    def kept_ids(self, n_dropped_turns: int = 0) -> NDArray[np.int32]:
        """Return the ids that the window holds, head included, but for those of the last turns, [n_tokens]."""
        kept = self._without(self.kept_from, n_dropped_turns)
        return np.concatenate([np.empty(0, np.int32), *(entry.token_ids for entry in kept)])

    def _without(self, kept_from: int, n_dropped_turns: int) -> list[TapeEntry]:
        """Return the head and what stands from `kept_from` on, but for the last turns."""
        kept = []
        for entry in reversed(self.entries):
            if entry.kind is EntryKind.TURN and n_dropped_turns and entry.start >= kept_from:
                n_dropped_turns -= 1
            elif len(entry.token_ids) and (entry.end <= self.head_end or entry.end > kept_from):
                kept.append(entry if entry.end <= self.head_end else _cut(entry, kept_from))
        return kept[::-1]

    def tokens_per_row(self) -> float:
        """Return the mean cost of a row in tokens, 0 before the first."""
        return self.n_row_tokens / self.n_rows if self.n_rows else 0.0

    def _mark(self, kind: EntryKind, position: int, at: float, version: int) -> None:
        self.entries.append(TapeEntry(kind, position, np.empty(0, np.int32), at, version))


def _cut(entry: TapeEntry, begin: int) -> TapeEntry:
    """Return an entry without the rows that end at or before `begin`."""
    if entry.start >= begin or entry.rows is None or entry.row_ends is None:
        return entry
    n_tokens = begin - entry.start
    n_rows = int(np.searchsorted(entry.row_ends, n_tokens, side="right"))
    return replace(
        entry,
        start=begin,
        token_ids=entry.token_ids[n_tokens:].copy(),
        rows=entry.rows[n_rows:].copy(),
        row_ends=entry.row_ends[n_rows:] - np.int32(n_tokens),
    )


def _ends(entry: TapeEntry) -> list[tuple[int, bool]]:
    """Return where the parts of an entry end that leave one by one, and whether each is a row."""
    if entry.row_ends is None:
        return [(entry.end, False)]
    return [(entry.start + end, True) for end in entry.row_ends.tolist()]
