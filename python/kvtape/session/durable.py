"""What a session's context is made of, and how it changes: one change at a time, each a version of its own.

Everything here runs on the event loop. A change ends in a settle: its tokens are resident and the data version grows by
one. With a window, what is oldest leaves in the same turn of the loop, so that a version is one state of the context.
When the positions run out, the window is computed afresh beside the sequence that is in use, and takes its place.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from kvtape.errors import Conflict, ContextOverflow, InvalidRequest, SequenceLost
from kvtape.session.rebase import Rebase
from kvtape.session.tape import EntryKind, Tape
from kvtape.session.turnstile import Turnstile
from kvtape.types import WorkClass

if TYPE_CHECKING:
    from kvtape.engine import AsyncSequence

__all__ = ["Change", "DurableContext"]


class DurableContext(ABC):
    """A sequence, the tape it can be rebuilt from, and the window that moves over them.

    Args:
        open_sequence: makes an empty sequence.
        n_ctx: longest context in tokens.
        window: tokens of data that stay; None: all do, until the context is full.
        on_change: is told that the context is about to change.
        on_settled: that there is a new version.
    """

    def __init__(
        self,
        open_sequence: Callable[[], AsyncSequence],
        n_ctx: int,
        *,
        window: int | None,
        on_change: Callable[[], None],
        on_settled: Callable[[], None],
        now: Callable[[], float],
    ) -> None:
        self.sequence = open_sequence()
        self.n_ctx = n_ctx
        self.window = window
        self.version = 0
        self.n_prompt = 0  # tokens that the session opened with
        self.prefix_end = 0  # of them and of what came later, how many are frozen
        self.settled_end = 0  # length of the context at the current version, in tokens
        self.turns = Turnstile(lambda: self.n_settled, on_free=self._take_up_more)
        self.n_rebases = 0
        self.tape = Tape()
        self._open_sequence = open_sequence
        self._on_change = on_change
        self._on_settled = on_settled
        self._now = now
        self._rebasing: Rebase | None = None

    @property
    @abstractmethod
    def n_accepted(self) -> int:
        """Entries of data that were acknowledged."""

    @property
    @abstractmethod
    def n_settled(self) -> int:
        """Of these, the ones that are part of the current version, or were dropped."""

    @abstractmethod
    def _take_up_more(self) -> None:
        """Nothing changes the context any more: let data go on."""

    @property
    def changing(self) -> bool:
        """Whether a change is on its way."""
        return self.turns.taken

    @property
    def fault(self) -> Exception | None:
        """Why the context takes nothing in any more."""
        return self.turns.fault

    @property
    def n_evicted(self) -> int:
        """Rows, texts and turns that have left the window."""
        return self.tape.n_evicted

    @property
    def _rebase_at(self) -> int | None:
        """Length at which the window is computed afresh: when three quarters of what lies beside it are used up."""
        if self.window is None:
            return None
        return self.n_ctx - max(self.n_ctx - self.tape.head_end - self.window, 0) // 4

    def begin(self, text: str, token_ids: Sequence[int]) -> None:
        """Take in the text that the session opens with, as version 0.

        Raises:
            ContextOverflow: it leaves no room for anything else.
            InvalidRequest: it leaves too little room for the window to move.
        """
        if len(token_ids) >= self.n_ctx:
            raise ContextOverflow(
                f"prompt has {len(token_ids)} tokens, at most {self.n_ctx - 1} fit",
                param="prompt",
                n_tokens=len(token_ids),
                limit=self.n_ctx,
            )
        self._check_window(len(token_ids))
        if token_ids:
            self.sequence.append(token_ids)
            self.tape.record_text(EntryKind.PROMPT, text, token_ids, at=self._now(), version=0)
        self.n_prompt = self.settled_end = len(token_ids)

    def _check_window(self, head_end: int) -> None:
        most = 3 * self.n_ctx // 4 - head_end
        if self.window is not None and self.window > most:
            raise InvalidRequest(
                f"window must be at most {most} tokens in a context of {self.n_ctx}, {head_end} of which stay: it "
                f"needs a quarter to move in; found {self.window}",
                param="window",
            )

    # -- changes -----------------------------------------------------------------------------------------------------

    async def append(self, text: str, token_ids: Sequence[int]) -> None:
        """Append text after the data acknowledged before it; once that has begun, whoever leaves waits for its end.

        Raises:
            ContextOverflow: it does not fit; nothing has changed.
            EngineFailed: the context takes nothing in any more.
        """
        async with self.turns.turn(self.n_accepted):
            room = self.n_ctx - self.tape.head_end if self.window is not None else self.n_ctx - self.sequence.n_tokens
            room = min(room, self.window or room)
            if len(token_ids) > room:
                raise ContextOverflow(
                    f"text has {len(token_ids)} tokens, at most {room} fit", param="text",
                    n_tokens=len(token_ids), limit=room,
                )  # fmt: skip
            await _to_its_end(self._append(text, token_ids))

    async def _append(self, text: str, token_ids: Sequence[int]) -> None:
        self._on_change()
        await self._extend(
            token_ids,
            lambda: self.tape.record_text(EntryKind.TEXT, text, token_ids, at=self._now(), version=self.version + 1),
            WorkClass.INTERACTIVE,
        )
        self._settle()

    async def mark_prefix(self) -> int:
        """Freeze the context of the current version: it never leaves, and its KV is evicted last. Returns its end.

        Raises:
            InvalidRequest: it leaves too little room for the window to move.
        """
        async with self.turns.turn(self.n_settled):
            if self.tape.has_hole:
                await self._rebase()
            if self.sequence.n_tokens > self.prefix_end:
                self._check_window(self.sequence.n_tokens)
                self._stop_rebasing()
                self.tape.freeze()
                self.prefix_end = self.tape.head_end
                self.sequence.freeze(self.prefix_end)
        return self.prefix_end

    @asynccontextmanager
    async def change(self) -> AsyncIterator[Change]:
        """Wait until all that was acknowledged has settled, and hold up data while the context is changed by hand.

        Raises:
            EngineFailed: the context takes nothing in any more.
        """
        async with self.turns.turn(self.n_accepted):
            yield Change(self)

    # -- versions ----------------------------------------------------------------------------------------------------

    async def caught_up(self) -> None:
        """Wait until everything acknowledged so far is part of the current version.

        Raises:
            EngineFailed: the context takes nothing in any more.
        """
        target = self.n_accepted
        await self.turns.wait_until(lambda: self.n_settled >= target)

    def branch(self) -> AsyncSequence:
        """Fork the context at the current version, without what is still on its way.

        Raises:
            SequenceLost: its KV is gone; `recover`, and ask again.
        """
        branch = self.sequence.fork()
        try:
            branch.truncate(self.settled_end)
        except BaseException:
            branch.close()
            raise
        return branch

    async def recover(self) -> None:
        """Compute a context afresh that has lost its KV.

        Raises:
            EngineFailed: the context takes nothing in any more.
        """
        async with self.turns.turn(self.n_settled):
            if self.sequence.lost:
                await self._rebase()

    async def make_room(self, n_tokens: int) -> None:
        """Move the window to where `n_tokens` more fit, if it has one and they ever do.

        Raises:
            EngineFailed: the context takes nothing in any more.
        """
        if self.window is not None and self.tape.has_hole and self.sequence.n_tokens + n_tokens > self.n_ctx:
            async with self.turns.turn(self.n_settled):
                await self._rebase()

    async def close(self) -> None:
        """Stop settling and free the sequence."""
        await self.turns.close()
        self.sequence.close()
        self._stop_rebasing()

    async def _extend(self, token_ids: Sequence[int], record: Callable[[], None], work: WorkClass) -> None:
        """Append tokens, put them on the tape, wait for their KV and let the oldest leave."""
        while True:
            await self._clear(len(token_ids))
            try:
                if len(token_ids):
                    self.sequence.append(token_ids, work=work)
                break
            except SequenceLost:
                await self._rebase()
        record()
        await self._finish()

    async def _clear(self, n_tokens: int) -> None:
        while self.window is not None and self.sequence.n_tokens + n_tokens > self.n_ctx:
            self.tape.move_window(self.n_ctx - self.tape.head_end - n_tokens, at=self._now(), version=self.version + 1)
            if not self.tape.has_hole:
                return
            await self._rebase()

    async def _finish(self) -> None:
        """Wait until the sequence is resident and let the oldest leave; the version is to grow in the same turn."""
        while True:
            try:
                await self.sequence.resident()
                self._move_window()
                return
            except Conflict:  # its KV has just been taken away again
                continue
            except SequenceLost:
                await self._rebase()

    def _move_window(self) -> None:
        if self.window is None:
            return
        tape = self.tape
        tape.move_window(self.window, at=self._now(), version=self.version + 1)
        if tape.has_hole and self.sequence.hole[1] < tape.kept_from:
            self.sequence.evict(tape.head_end, tape.kept_from)

    def _settle(self) -> None:
        self.version += 1
        self.settled_end = self.sequence.n_tokens
        self._on_settled()
        self.turns.notify()
        limit = self._rebase_at
        if limit is not None and self.settled_end >= limit and self.tape.has_hole and self._rebasing is None:
            self._rebasing = Rebase(self._open_sequence(), self.tape)
            self.turns.start(partial(self._rebase_behind, self._rebasing))

    async def _rebase_behind(self, rebase: Rebase) -> None:
        await rebase.advance()  # while data goes on coming in
        async with self.turns.turn(self.n_settled):
            if self._rebasing is rebase:
                await self._rebase()

    async def _rebase(self) -> None:
        """Put the window, computed afresh, in the place of the sequence; a version of its own."""
        rebase = self._rebasing = self._rebasing or Rebase(self._open_sequence(), self.tape)
        await rebase.advance()
        tape = self.tape
        while tape.kept_from > rebase.kept_from:  # data has left meanwhile
            with suppress(Conflict):
                await rebase.sequence.resident()
                rebase.sequence.evict(tape.head_end, tape.kept_from - rebase.kept_from + tape.head_end)
                break
        self._on_change()
        self.sequence.close()
        self.sequence, self._rebasing = rebase.take(), None
        self.sequence.freeze(self.prefix_end)
        tape.rebase(rebase.kept_from, at=self._now(), version=self.version + 1)
        self.n_rebases += 1
        self._settle()

    def _stop_rebasing(self) -> None:
        if self._rebasing is not None:
            self._rebasing.close()
            self._rebasing = None


class Change:
    """A context in the hands of somebody who changes it; made by `DurableContext.change`."""

    def __init__(self, context: DurableContext) -> None:
        self._context = context
        self.tape = context.tape

    def fork(self) -> AsyncSequence:
        """Return a sequence with the context as it is.

        Raises:
            SequenceLost: its KV is gone; `recover`, and fork again.
        """
        return self._context.branch()

    def without_turns(self, n_last: int) -> AsyncSequence:
        """Return a sequence with the context but for its last turns; what went before them is found in the cache."""
        sequence = self._context._open_sequence()
        sequence.append(self.tape.kept_ids(n_last))
        return sequence

    def reopened(self, token_ids: Sequence[int]) -> AsyncSequence:
        """Return a sequence with another opening and nothing behind it."""
        sequence = self._context._open_sequence()
        sequence.append(token_ids)
        return sequence

    async def recover(self) -> None:
        """Compute the context afresh where its KV is lost."""
        if self._context.sequence.lost:
            await self._context._rebase()

    async def make_room(self, n_tokens: int) -> None:
        """Move the window, if there is one, to where `n_tokens` more fit."""
        await self._context._clear(n_tokens)

    async def commit(
        self,
        sequence: AsyncSequence,
        token_ids: Sequence[int],
        *,
        n_dropped: int = 0,
        opening: tuple[str, Sequence[int]] | None = None,
    ) -> None:
        """Make `sequence` a new version of the context.

        Args:
            sequence: what `fork`, `without_turns` or `reopened` gave, and `token_ids` behind.
            token_ids: a turn; empty where there is none.
            n_dropped: last turns that it is without.
            opening: text and tokens of another opening, where that and turns were all there was.

        Raises:
            EngineFailed: the engine gave up.
        """
        context, tape, version = self._context, self.tape, self._context.version + 1
        context._on_change()
        context.sequence.close()
        context.sequence = sequence
        sequence.freeze(context.prefix_end)
        if opening is not None:
            context._stop_rebasing()
            tape.reopen(*opening, at=context._now(), version=version)
            context.n_prompt = tape.head_end
        elif n_dropped:
            context._stop_rebasing()
            tape.rebase(tape.kept_from, at=context._now(), version=version, n_dropped_turns=n_dropped)
        if len(token_ids):
            tape.record_text(EntryKind.TURN, "", token_ids, at=context._now(), version=version)
        await context._finish()
        context._settle()


async def _to_its_end(work: Coroutine[Any, Any, None]) -> None:
    """Await what must not be left half done: a cancellation waits for its end."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        if not task.cancelled():
            task.exception()  # nobody is left to be told
        raise
