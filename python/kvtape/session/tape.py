"""The ordered record of everything that entered a session for good; KV is only a cache of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

__all__ = ["EntryKind", "Tape", "TapeEntry"]


class EntryKind(StrEnum):
    """What an entry brought."""

    PROMPT = "prompt"  # the session's opening text
    HEADER = "header"  # what a reader of the rows must know: symbol, tick, units
    ROWS = "rows"
    TEXT = "text"  # an append


@dataclass(frozen=True, slots=True)
class TapeEntry:
    """One durable change. Tokens `[start, start + len(token_ids))` of the session's context came from it."""

    kind: EntryKind
    start: int
    token_ids: np.ndarray  # [n_tokens] int32
    at: float  # Unix seconds
    version: int  # data version that made it visible; 0 for what a session is created with
    text: str = ""
    rows: np.ndarray | None = None  # [n_rows] of the session's row type
    row_ends: np.ndarray | None = None  # [n_rows] int32: end of each row's tokens, relative to `start`


@dataclass(slots=True)
class Tape:
    """Entries in the order in which they entered the context."""

    entries: list[TapeEntry] = field(default_factory=list)
    n_tokens: int = 0
    n_rows: int = 0
    n_row_tokens: int = 0

    def __iter__(self) -> Iterator[TapeEntry]:
        return iter(self.entries)

    def record_text(self, kind: EntryKind, text: str, token_ids: Sequence[int], *, at: float, version: int) -> None:
        """Record text that was appended to the context."""
        ids = np.asarray(token_ids, dtype=np.int32)
        self.entries.append(TapeEntry(kind, self.n_tokens, ids, at, version, text=text))
        self.n_tokens += len(ids)

    def record_rows(self, rows: np.ndarray, row_ids: Sequence[Sequence[int]], *, at: float, version: int) -> None:
        """Record rows and the tokens of each."""
        ids = np.fromiter((token_id for row in row_ids for token_id in row), dtype=np.int32)
        ends = np.cumsum([len(row) for row in row_ids], dtype=np.int32)
        entry = TapeEntry(EntryKind.ROWS, self.n_tokens, ids, at, version, rows=rows, row_ends=ends)
        self.entries.append(entry)
        self.n_tokens += len(ids)
        self.n_rows += len(rows)
        self.n_row_tokens += len(ids)

    def token_ids(self) -> np.ndarray:
        """Return the whole durable context, [n_tokens] int32: what the session's KV is rebuilt from."""
        return np.concatenate([np.empty(0, np.int32), *(entry.token_ids for entry in self.entries)])

    def tokens_per_row(self) -> float:
        """Return the mean cost of a row in tokens, 0 before the first."""
        return self.n_row_tokens / self.n_rows if self.n_rows else 0.0
