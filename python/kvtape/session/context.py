"""The live context of a session: data goes in at one end, data versions come out at the other.

Data is queued in the order in which it was acknowledged, taken up in batches, and appended to the durable context as
text, a row or a pushed text at a time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from kvtape.errors import ContextOverflow
from kvtape.session.durable import DurableContext
from kvtape.session.intake import Intake
from kvtape.session.push import Run, parse_push
from kvtape.session.row_text import RowEncoder
from kvtape.session.row_types import RowType
from kvtape.session.rows import NameTables
from kvtape.session.spec import Overflow
from kvtape.session.stats import STATS
from kvtape.session.tape import EntryKind
from kvtape.types import WorkClass

if TYPE_CHECKING:
    from kvtape.engine import AsyncSequence

__all__ = ["Batch", "IngestCounters", "LiveContext", "PushAck"]

MAX_BATCH = 1_024  # entries taken up at once
MAX_BATCH_BYTES = 1 << 18  # of texts, the first apart
ROW_TOKENS = 20  # of a row, until there are some


class PushAck(NamedTuple):
    """The state of the queue at the moment of a push."""

    n_pushed: int
    n_dropped: int
    n_pending: int
    pending_bytes: int
    total_enqueued: int
    total_dropped: int
    version: int


@dataclass(slots=True)
class IngestCounters:
    """Cumulative counters of one session's ingest, in rows and texts unless they say otherwise."""

    total_enqueued: int = 0
    total_dropped: int = 0
    n_processed: int = 0  # resident, or dropped after they had been accepted
    n_batches: int = 0
    n_tokens: int = 0
    process_ns: int = 0
    last_process_ns: int = 0


@dataclass(frozen=True, slots=True)
class Batch:
    """Entries on their way into the context, all rows or all texts; `header` is there with the first rows."""

    rows: np.ndarray | None
    header: str
    texts: list[str]
    pushed_ns: int
    started_ns: int = field(default_factory=time.perf_counter_ns)


class LiveContext(DurableContext):
    """See the module.

    Args:
        row_type: None where the session takes texts alone.
        policy: what happens to data that a full queue has no room for.
        on_data: is told that there is data to take up.
        on_ingested: how many tokens a batch had, and how many seconds passed from its first push to its version.
    """

    def __init__(
        self,
        open_sequence: Callable[[], AsyncSequence],
        n_ctx: int,
        row_type: RowType | None,
        *,
        window: int | None = None,
        policy: Overflow = "drop_newest",
        on_data: Callable[[], None],
        on_change: Callable[[], None],
        on_settled: Callable[[], None],
        on_ingested: Callable[[int, float], None] = lambda n_tokens, seconds: None,
        now: Callable[[], float],
    ) -> None:
        super().__init__(open_sequence, n_ctx, window=window, on_change=on_change, on_settled=on_settled, now=now)
        self.row_type = row_type
        self.full = False  # data no longer fits, and nothing leaves
        self.counters = IngestCounters()
        self.intake = Intake(row_type, policy)
        self.names = NameTables(row_type) if row_type else None
        self.stats = STATS[row_type.name](self.names) if row_type and self.names else None
        self._encoder = RowEncoder(row_type, self.names) if row_type and self.names else None
        self._on_data = on_data
        self._on_ingested = on_ingested
        self._waits_since_ns = 0  # when the first of what waits came
        self._n_taken_up = 0  # entries that were taken off the queue and are part of the current version, or dropped
        self._n_since_introduced = 0  # rows since times and scales were last spelled out

    @property
    def n_accepted(self) -> int:
        """Rows and texts that were acknowledged."""
        return self.intake.n_accepted

    @property
    def n_settled(self) -> int:
        """Of these, the ones that are part of the current version, or were dropped."""
        return self._n_taken_up + self.intake.n_lost

    @property
    def n_pending(self) -> int:
        """Rows and texts acknowledged that are not part of the current version: queued, or on their way into it."""
        return self.n_accepted - self.n_settled

    @property
    def n_rows(self) -> int:
        """Typed rows in the context now."""
        return self.tape.n_rows - self.tape.n_evicted_rows

    @property
    def stopped(self) -> bool:
        """Whether data is no longer taken in."""
        return self.full or self.fault is not None

    def push(self, data: str | Sequence[Any] | np.ndarray) -> PushAck:
        """Check rows and texts and queue what the policy takes; returns at once.

        Args:
            data: an array [n] of `row_type.dtype`, whose names count those of `names`; or a text; or a list of texts
                and rows, the latter as decoded from JSON: as `row_type.model` or as plain objects.

        Raises:
            InvalidRequest: an entry is malformed, `param` names it; nothing was queued.
            TypeError: an array of another dtype or shape, or one that is not contiguous.
        """
        runs = parse_push(data, self.row_type, self.names)
        n_offered, n_pushed, n_dropped = sum(map(len, runs)), 0, self.counters.total_dropped
        for run in runs:
            n_accepted = self._put(run)
            n_pushed += n_accepted
            if n_accepted < len(run):
                break
        self.counters.total_dropped += n_offered - n_pushed
        return PushAck(
            n_pushed=n_pushed,
            n_dropped=self.counters.total_dropped - n_dropped,
            n_pending=self.n_pending,
            pending_bytes=self.intake.n_bytes,
            total_enqueued=self.counters.total_enqueued,
            total_dropped=self.counters.total_dropped,
            version=self.version,
        )

    async def feed(self, data: str | Sequence[Any] | np.ndarray) -> None:
        """As `push`, but wait for room: nothing is refused. For feeds in this process.

        Raises:
            ContextOverflow: the context is full, and nothing leaves.
            EngineFailed: the context takes nothing in any more.
        """
        for run in parse_push(data, self.row_type, self.names):
            while True:
                run = run[self._put(run) :]
                if not len(run):
                    break
                if self.full:
                    raise ContextOverflow(f"data: the context of {self.n_ctx} tokens is full", param="data")
                await self.until_fewer_than(len(self.intake))

    async def until_fewer_than(self, n_pending: int) -> None:
        """Wait until so many wait no more, or the context is full.

        Raises:
            EngineFailed: the context takes nothing in any more.
        """
        await self.turns.wait_until(lambda: self.full or len(self.intake) < n_pending)

    def _put(self, run: Run) -> int:
        """Queue the first ones of a run, and let what they push out count as dropped; returns how many."""
        if self.stopped:
            return 0
        if not len(self.intake):
            self._waits_since_ns = time.perf_counter_ns()
        n_lost = self.intake.n_lost
        n_accepted = self.intake.put_texts(run) if isinstance(run, list) else self.intake.put_rows(run)
        n_lost = self.intake.n_lost - n_lost
        self.counters.total_enqueued += n_accepted
        self.counters.total_dropped += n_lost
        self.counters.n_processed += n_lost
        if n_accepted:
            self._on_data()
        return n_accepted

    def take_batch(self) -> Batch | None:
        """Take queued data, unless another change comes first; goes on in `submit` or `fail`."""
        most = self.turns.try_take()
        limit = MAX_BATCH if most is None else min(most, MAX_BATCH)
        entries = self.intake.take(limit, MAX_BATCH_BYTES) if limit > 0 else []
        if not len(entries):
            return None
        self.turns.taken = True
        pushed_ns, self._waits_since_ns = self._waits_since_ns, time.perf_counter_ns()
        if isinstance(entries, list):
            return Batch(None, "", entries, pushed_ns)
        assert self._encoder is not None
        header = "" if self.tape.n_rows else self._encoder.header(entries)
        return Batch(entries, header, self._encode(self._encoder, entries), pushed_ns)

    def _encode(self, encoder: RowEncoder, rows: np.ndarray) -> list[str]:
        """Render rows; times and scales are spelled out again before the rows that did so leave the window."""
        if self.window is None:
            return encoder.encode(rows)
        texts: list[str] = []
        n_rows = max(1, int(self.window / 4 / (self.tape.tokens_per_row() or ROW_TOKENS)))  # that make a quarter of it
        for begin in range(0, len(rows), n_rows):
            if self._n_since_introduced >= 2 * n_rows:
                self._n_since_introduced = 0
                encoder.introduce_again()
            piece = rows[begin : begin + n_rows]
            texts += encoder.encode(piece)
            self._n_since_introduced += len(piece)
        return texts

    def submit(self, batch: Batch, header_ids: list[int], entry_ids: list[list[int]]) -> None:
        """Append what fits and settle in the background; what does not fit counts as dropped."""
        if self.fault is None:
            self.turns.start(partial(self._take_in, batch, header_ids, entry_ids))

    async def _take_in(self, batch: Batch, header_ids: list[int], entry_ids: list[list[int]]) -> None:
        n_entries = len(entry_ids)
        n_before = self.counters.n_tokens
        begin, end = self._what_fits(len(header_ids), [len(ids) for ids in entry_ids])
        if begin < end:
            self._on_change()
            if header_ids and self.tape.has_hole:
                await self._rebase()  # the header joins the head, which lies in one piece
            kept = entry_ids[begin:end]
            token_ids = header_ids + [token_id for ids in kept for token_id in ids]
            await self._extend(token_ids, lambda: self._record(batch, begin, header_ids, kept), WorkClass.INGEST)
            self.counters.n_tokens += len(token_ids)
        if end < n_entries:
            self.full = True
            self.counters.total_dropped += n_entries - end
        self.tape.n_evicted += begin
        if batch.rows is not None and self.stats is not None:
            self.stats.add(batch.rows[:end])
        counters, elapsed = self.counters, time.perf_counter_ns() - batch.started_ns
        counters.n_processed += n_entries
        counters.n_batches += 1
        counters.process_ns += elapsed
        counters.last_process_ns = elapsed
        self._n_taken_up += n_entries
        self._settle()
        self._on_ingested(counters.n_tokens - n_before, (time.perf_counter_ns() - batch.pushed_ns) / 1e9)
        self.turns.release()

    def _what_fits(self, n_header: int, n_tokens: list[int]) -> tuple[int, int]:
        """Return which entries of so many tokens go in: the first ones, or with a window the last ones."""
        if self.window is not None:
            most = min(self.window, self.n_ctx - self.tape.head_end - n_header)
            return len(n_tokens) - int(np.searchsorted(np.cumsum(n_tokens[::-1]), most, side="right")), len(n_tokens)
        room = 0 if self.full else self.n_ctx - self.sequence.n_tokens - n_header
        return 0, int(np.searchsorted(np.cumsum(n_tokens), room, side="right")) if room > 0 else 0

    def _record(self, batch: Batch, begin: int, header_ids: list[int], kept: list[list[int]]) -> None:
        at, version = self._now(), self.version + 1
        if header_ids:
            self.tape.record_text(EntryKind.HEADER, batch.header, header_ids, at=at, version=version)
        if batch.rows is not None:
            self.tape.record_rows(batch.rows[begin : begin + len(kept)], kept, at=at, version=version)
            return
        for text, ids in zip(batch.texts[begin:], kept, strict=False):
            self.tape.record_text(EntryKind.TEXT, text, ids, at=at, version=version)

    def _take_up_more(self) -> None:
        if len(self.intake):
            self._on_data()
