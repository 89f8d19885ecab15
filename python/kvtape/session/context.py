"""The durable context of a session: rows and appended text go in at one end, data versions come out at the other.

Everything here runs on the event loop. One change is on its way at a time, a batch of rows or an append, in the order
in which they were acknowledged; each ends in a settle: its tokens are resident and the data version grows by one.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from kvtape.errors import ContextOverflow, EngineFailed
from kvtape.ring import RingBuffer
from kvtape.session.row_text import RowEncoder
from kvtape.session.row_types import RowType
from kvtape.session.rows import NameTables, check_rows, parse_rows
from kvtape.session.stats import STATS
from kvtape.session.tape import EntryKind, Tape
from kvtape.types import WorkClass

if TYPE_CHECKING:
    from kvtape.engine import AsyncSequence

__all__ = ["Batch", "IngestCounters", "LiveContext", "PushAck"]

log = logging.getLogger(__name__)

RING_CAPACITY = 16_384  # rows
MAX_BATCH = 1_024  # rows taken off the ring at once


class PushAck(NamedTuple):
    """The state of the queue at the moment of a push."""

    n_pushed: int
    n_dropped: int
    n_pending: int
    total_enqueued: int
    total_dropped: int
    version: int


@dataclass(slots=True)
class IngestCounters:
    """Cumulative counters of one session's ingest, in rows unless they say otherwise."""

    total_enqueued: int = 0
    total_dropped: int = 0
    n_processed: int = 0  # resident, or dropped after they had been accepted
    n_batches: int = 0
    n_tokens: int = 0
    process_ns: int = 0
    last_process_ns: int = 0


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows on their way into the context; `header` is there with the first ones."""

    rows: np.ndarray
    header: str
    texts: list[str]
    started_ns: int = field(default_factory=time.perf_counter_ns)


class LiveContext:
    """See the module.

    `on_rows` is told that the ring has rows to take, `on_change` that the context is about to grow, `on_settled` that
    there is a new version.
    """

    def __init__(
        self,
        sequence: AsyncSequence,
        n_ctx: int,
        row_type: RowType,
        *,
        on_rows: Callable[[], None],
        on_change: Callable[[], None],
        on_settled: Callable[[], None],
        now: Callable[[], float],
    ) -> None:
        self.sequence = sequence
        self.n_ctx = n_ctx
        self.row_type = row_type
        self.version = 0
        self.n_prompt = 0  # tokens that the session opened with
        self.settled_end = 0  # length of the context at the current version, in tokens
        self.full = False  # rows no longer fit, and nothing leaves
        self.fault: Exception | None = None
        self.changing = False
        self.counters = IngestCounters()
        self.tape = Tape()
        self.ring = RingBuffer(row_type.dtype, RING_CAPACITY, overflow="drop_newest")
        self.names = NameTables(row_type)
        self.stats = STATS[row_type.name](self.names)
        self._encoder = RowEncoder(row_type, self.names)
        self._on_rows = on_rows
        self._on_change = on_change
        self._on_settled = on_settled
        self._now = now
        self._n_accepted = 0  # rows and appends acknowledged
        self._n_settled = 0  # of which are part of the current version
        self._append_after: int | None = None  # a waiting append goes in after so many
        self._settling: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()

    @property
    def stopped(self) -> bool:
        """Whether rows are no longer taken in."""
        return self.full or self.fault is not None

    def begin(self, text: str, token_ids: Sequence[int]) -> None:
        """Take in the text that the session opens with, as version 0.

        Raises:
            ContextOverflow: it leaves no room for anything else.
        """
        if len(token_ids) >= self.n_ctx:
            raise ContextOverflow(
                f"prompt has {len(token_ids)} tokens, at most {self.n_ctx - 1} fit",
                param="prompt",
                n_tokens=len(token_ids),
                limit=self.n_ctx,
            )
        if token_ids:
            self.sequence.append(token_ids)
            self.tape.record_text(EntryKind.PROMPT, text, token_ids, at=self._now(), version=0)
        self.n_prompt = self.settled_end = len(token_ids)

    # -- rows --------------------------------------------------------------------------------------------------------

    def push(self, data: Sequence[Any] | np.ndarray) -> PushAck:
        """Check rows and queue those that fit; returns at once.

        Args:
            data: an array [n] of `row_type.dtype`, whose names count those of `names`; or rows decoded from JSON, as
                `row_type.model` or as plain objects.

        Raises:
            InvalidRequest: a row is malformed, `param` names it; nothing was queued.
            TypeError: an array of another dtype or shape, or one that is not contiguous.
        """
        if isinstance(data, np.ndarray):
            check_rows(self.row_type, data, self.names)
            rows = data
        else:
            rows = parse_rows(self.row_type, data, self.names)
        n_pushed = 0 if self.stopped else self.ring.push(rows)
        self.counters.total_enqueued += n_pushed
        self.counters.total_dropped += len(rows) - n_pushed
        self._n_accepted += n_pushed
        if n_pushed:
            self._on_rows()
        return PushAck(
            n_pushed=n_pushed,
            n_dropped=len(rows) - n_pushed,
            n_pending=len(self.ring),
            total_enqueued=self.counters.total_enqueued,
            total_dropped=self.counters.total_dropped,
            version=self.version,
        )

    def take_batch(self) -> Batch | None:
        """Take queued rows off the ring, unless another change comes first; goes on in `submit` or `fail`."""
        if self.changing or self.fault is not None:
            return None
        limit = MAX_BATCH if self._append_after is None else min(MAX_BATCH, self._append_after - self._n_settled)
        rows = self.ring.pop(limit)
        if not len(rows):
            return None
        self.changing = True
        header = "" if self.tape.n_rows else self._encoder.header(rows)
        return Batch(rows, header, self._encoder.encode(rows))

    def submit(self, batch: Batch, header_ids: list[int], row_ids: list[list[int]]) -> None:
        """Append the rows that fit and settle in the background; the others count as dropped."""
        if self.fault is not None:
            return
        room = 0 if self.full else self.n_ctx - self.sequence.n_tokens - len(header_ids)
        n_fit = int(np.searchsorted(np.cumsum([len(ids) for ids in row_ids]), room, side="right")) if room > 0 else 0
        rows, row_ids = batch.rows[:n_fit], row_ids[:n_fit]
        if n_fit:
            self._on_change()
            token_ids = header_ids + [token_id for ids in row_ids for token_id in ids]
            self.sequence.append(token_ids, work=WorkClass.INGEST)
            at, version = self._now(), self.version + 1
            if batch.header:
                self.tape.record_text(EntryKind.HEADER, batch.header, header_ids, at=at, version=version)
            self.tape.record_rows(rows, row_ids, at=at, version=version)
            self.counters.n_tokens += len(token_ids)
        if n_fit < len(batch.rows):
            self.full = True
            self.counters.total_dropped += len(batch.rows) - n_fit
        self._settle_later(batch, rows)

    def fail(self, error: Exception) -> None:
        """Stop for good; whoever waits for data gets the error."""
        self.fault = error
        self.changing = False
        self._notify()

    # -- text --------------------------------------------------------------------------------------------------------

    async def append(self, text: str, token_ids: Sequence[int]) -> None:
        """Append text after the rows acknowledged before it; its KV is computed in the background.

        Raises:
            ContextOverflow: it does not fit; nothing has changed.
            EngineFailed: the context takes nothing in any more.
        """
        self._append_after = target = self._n_accepted
        try:
            await self._wait_until(lambda: self._n_settled >= target and not self.changing)
            n_tokens = self.sequence.n_tokens + len(token_ids)
            if n_tokens > self.n_ctx:
                raise ContextOverflow(
                    f"text needs {n_tokens} tokens of context with what the session holds, at most {self.n_ctx} fit",
                    param="text",
                    n_tokens=n_tokens,
                    limit=self.n_ctx,
                )
            self._on_change()
            if token_ids:
                self.sequence.append(token_ids)
            self.tape.record_text(EntryKind.TEXT, text, token_ids, at=self._now(), version=self.version + 1)
            self._n_accepted += 1
            self.changing = True
            self._settle_later(None, None)
        finally:
            self._append_after = None
            if len(self.ring):
                self._on_rows()

    # -- versions ----------------------------------------------------------------------------------------------------

    async def caught_up(self) -> None:
        """Wait until everything acknowledged so far is part of the current version.

        Raises:
            EngineFailed: the context takes nothing in any more.
        """
        target = self._n_accepted
        await self._wait_until(lambda: self._n_settled >= target)

    def branch(self) -> AsyncSequence:
        """Fork the context at the current version, without what is still on its way."""
        branch = self.sequence.fork()
        branch.truncate(self.settled_end)
        return branch

    async def close(self) -> None:
        """Stop settling and free the sequence."""
        if self._settling is not None and not self._settling.done():
            self._settling.cancel()
            await asyncio.wait({self._settling})
        self.fail(EngineFailed("the session was deleted"))
        self.sequence.close()

    def _settle_later(self, batch: Batch | None, rows: np.ndarray | None) -> None:
        self._settling = asyncio.get_running_loop().create_task(self._settle(batch, rows))

    async def _settle(self, batch: Batch | None, rows: np.ndarray | None) -> None:
        try:
            await self.sequence.resident()
        except EngineFailed as error:
            log.error("a session stopped taking in data: %s", error)
            self.fail(error)
            return
        if batch is None or rows is None:
            self._n_settled += 1
        else:
            self.stats.add(rows)
            counters, elapsed = self.counters, time.perf_counter_ns() - batch.started_ns
            counters.n_processed += len(batch.rows)
            counters.n_batches += 1
            counters.process_ns += elapsed
            counters.last_process_ns = elapsed
            self._n_settled += len(batch.rows)
        self.version += 1
        self.settled_end = self.sequence.n_tokens
        self.changing = False
        self._on_settled()
        self._notify()
        if len(self.ring):
            self._on_rows()

    def _notify(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def _wait_until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            if self.fault is not None:
                raise EngineFailed(f"the session takes in no more data: {self.fault}")
            await self._changed.wait()
