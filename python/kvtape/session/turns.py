"""The conversation in a session's context: durable turns, and a turn that is computed ahead of its question.

A chat client resends its conversation with each turn. The session holds the turns so far, with the data that came
between them. Only what is new goes behind all that it holds, so the reply sees everything that was acknowledged before;
where the client's conversation is another than the one that is held, the turns from there on leave, and data stays.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from kvtape.chat.conversation import ChatTurn, Turn, begin_turn, check_ids
from kvtape.chat.framing import Framing, common_prefix_len, rewrite
from kvtape.chat.held import HeldPrompt, HeldTurn, HeldTurns, Opening
from kvtape.chat.prompt import PreparedChat, prepare_chat
from kvtape.errors import SequenceLost
from kvtape.session.durable import Change, DurableContext
from kvtape.session.tape import EntryKind
from kvtape.types import ChatPrompt, FinishReason, ParsedReply, SamplingParams, TokenEvent, Usage, WorkClass

if TYPE_CHECKING:
    from kvtape.engine import AsyncSequence
    from kvtape.session.session import SessionCounters

__all__ = ["Conversation", "SessionTurn", "WarmFinish", "Warmed"]

Settle = Callable[["SessionTurn", ParsedReply, Sequence[int], FinishReason | None], Awaitable[None]]


class WarmFinish(StrEnum):
    """How the computing of a turn ahead ended."""

    WARMED = "warmed"  # every token has KV now
    CANCELLED = "cancelled"  # a turn or another warm took over; what was computed stays
    COVERED = "covered"  # every token had it already


@dataclass(frozen=True, slots=True)
class Warmed:
    """What computing a turn ahead came to; counts are in tokens."""

    finish: WarmFinish
    n_prompt: int
    n_held: int  # of these, whose KV the session had
    n_found: int  # and whose KV was found by its prefix
    version: int


class SessionTurn(ChatTurn):
    """A chat turn that becomes part of its session's context with its last step; one that is left changes nothing."""

    def __init__(self, turn: Turn, prepared: PreparedChat, settle: Settle, release: Callable[[], None]) -> None:
        super().__init__(turn, prepared)
        self._settle = settle
        self._release = release
        self._settling: asyncio.Task[None] | None = None
        self._closed = False

    async def end(self, reply: ParsedReply, token_ids: Sequence[int], finish: FinishReason | None) -> None:
        """Make the turn durable, also where its reader leaves now.

        Raises:
            EngineFailed: the engine gave up.
        """
        self._settling = asyncio.get_running_loop().create_task(self._make_durable(reply, token_ids, finish))
        await asyncio.shield(self._settling)

    async def _make_durable(self, reply: ParsedReply, token_ids: Sequence[int], finish: FinishReason | None) -> None:
        try:
            await self._settle(self, reply, token_ids, finish)
        finally:
            self._release()

    def close(self) -> None:
        """Cancel what still runs and let the session go on. Idempotent."""
        if self._settling is None and not self._closed:
            self._closed = True
            super().close()
            self._release()


class _Opened(NamedTuple):
    """A turn that is about to run, behind `n_base` tokens of the context; `n_held` of all tokens have KV."""

    turn: Turn
    n_base: int
    n_held: int


class _Warming:
    """A turn that is computed ahead. Its sequence holds the prompt, and KV for the part that was computed.

    Args:
        turn: draws one token, for only then the last of the prompt has KV; nobody sees it.
        version: of the context that it goes on from.
    """

    def __init__(self, turn: Turn, version: int) -> None:
        self.turn = turn
        self.version = version
        self._task: asyncio.Task[list[TokenEvent]] | None = None
        self._stopped = False

    @property
    def running(self) -> bool:
        return self._task is not None and not self._task.done()

    async def compute(self) -> Usage | None:
        """Compute it; None where it was stopped."""
        self._task = asyncio.get_running_loop().create_task(self.turn.collect())
        try:
            (last,) = await self._task
            self.turn.sequence.truncate(self.turn.start)
        except asyncio.CancelledError:
            if not self._stopped:
                raise
            return None
        except SequenceLost:
            return None
        return last.usage

    async def stop(self) -> None:
        self._cancel()
        if self._task is not None:
            await asyncio.wait({self._task})

    def close(self) -> None:
        self._cancel()
        self.turn.close()

    def _cancel(self) -> None:
        if self._task is not None and not self._task.done():
            self._stopped = True
            self._task.cancel()


class Conversation:
    """The turns of one session.

    Args:
        framing: how the session opens.
        context: where the turns stand.
        totals: counters of all sessions.
        on_turn: is told the last token of a turn that has become durable.
        on_end: is told that a turn has ended, durable or not.
    """

    def __init__(
        self,
        framing: Framing,
        context: DurableContext,
        totals: SessionCounters,
        *,
        on_turn: Callable[[TokenEvent], None],
        on_end: Callable[[], None],
    ) -> None:
        self.turns: list[HeldTurn] = []
        self._framing = framing
        self._opening = Opening(framing.head, framing.head_ids, framing.prompt if framing.templated else None)
        self._context = context
        self._totals = totals
        self._on_turn = on_turn
        self._on_end = on_end
        self._warming: _Warming | None = None
        self._n_stopped = 0  # how often whoever warms was told to stop
        self._releasing: set[asyncio.Task[None]] = set()

    @property
    def warming(self) -> bool:
        """Whether a turn is being computed ahead."""
        return self._warming is not None and self._warming.running

    # -- turns -------------------------------------------------------------------------------------------------------

    async def begin(self, prompt: ChatPrompt, params: SamplingParams) -> SessionTurn:
        """Start a turn behind everything that was acknowledged before it.

        Raises:
            ContextOverflow: it does not fit; nothing has changed.
            InvalidRequest: the model or its template cannot take this request.
            EngineFailed: the context takes nothing in any more.
        """
        check_ids(self._framing.model, list(params.logit_bias), "logit_bias")
        await self.stop_warming()
        exits = AsyncExitStack()
        try:
            change = await exits.enter_async_context(self._context.change())
            prepared, held = await self._prepare(prompt, params)
            opened = await self._open(change, held, prepared.params, WorkClass.INTERACTIVE)
        except BaseException:
            await exits.aclose()
            raise
        self._count_calls(held)
        settle = partial(self._settle, change, held, opened.n_base)
        return SessionTurn(opened.turn, prepared, settle, partial(self._release, exits))

    async def _prepare(self, prompt: ChatPrompt, params: SamplingParams) -> tuple[PreparedChat, HeldPrompt]:
        context, framing = self._context, self._framing
        alone = not context.prefix_end and all(
            entry.kind in (EntryKind.PROMPT, EntryKind.TURN) for entry in context.tape
        )
        history = HeldTurns(framing.model, replace(self._opening, alone=alone), tuple(self.turns))
        prepared = await asyncio.to_thread(
            prepare_chat, framing.model, prompt, params, history=history, now=framing.now
        )
        assert isinstance(prepared.encoded, HeldPrompt)
        return prepared, prepared.encoded

    async def _open(self, change: Change, held: HeldPrompt, params: SamplingParams, work: WorkClass) -> _Opened:
        """Put a prompt on a sequence of its own, behind the context."""
        limit = self._context.n_ctx
        reply = limit // 4 if params.max_tokens is None else min(params.max_tokens, limit // 4)
        await change.make_room(len(held.token_ids) + reply)
        while True:
            try:
                sequence = self._base(change, held)
                n_base = sequence.n_tokens
                try:
                    sequence, token_ids = self._warmed(sequence, held.token_ids)
                    n_held = sequence.n_cached
                    turn = begin_turn(sequence, token_ids, params, limit=limit, param="messages", work=work)
                    return _Opened(turn, n_base, n_held)
                except BaseException:
                    sequence.close()
                    raise
            except SequenceLost:
                await change.recover()

    def _base(self, change: Change, held: HeldPrompt) -> AsyncSequence:
        """A sequence with what a prompt stands behind: the context, or the part of it that stays."""
        if self._reopens(held):
            return change.reopened(held.opening.token_ids)
        n_dropped = len(self.turns) - held.n_kept
        return change.without_turns(n_dropped) if n_dropped else change.fork()

    def _reopens(self, held: HeldPrompt) -> bool:
        return held.opening.text != self._opening.text

    def _release(self, exits: AsyncExitStack) -> None:
        """Let others change the context and have the foreground."""
        task = asyncio.get_running_loop().create_task(exits.aclose())
        self._releasing.add(task)
        task.add_done_callback(self._releasing.discard)
        self._on_end()

    async def _settle(
        self,
        change: Change,
        held: HeldPrompt,
        n_base: int,
        turn: SessionTurn,
        reply: ParsedReply,
        token_ids: Sequence[int],
        finish: FinishReason | None,
    ) -> None:
        """Make a finished turn a version of the context."""
        try:
            kept = await asyncio.to_thread(turn.prepared.keep, reply, token_ids, finish)
            assert kept is not None
            kept = kept.cut(self._context.n_ctx - n_base)
            rewrite(turn.sequence, kept.token_ids, behind=n_base)
            opening = (held.opening.text, held.opening.token_ids) if self._reopens(held) else None
            n_dropped = len(self.turns) - held.n_kept
            await change.commit(turn.sequence, kept.token_ids, n_dropped=n_dropped, opening=opening)
        except BaseException:
            if turn.sequence is not self._context.sequence:
                turn.sequence.close()
            raise
        self.turns[held.n_kept :] = [kept]
        self._opening = held.opening
        assert turn.finished is not None
        self._on_turn(turn.finished)

    def _count_calls(self, held: HeldPrompt) -> None:
        """Count whether a conversation with calls is the one that is held."""
        if self.turns and any(message.get("tool_calls") for message in held.prompt.messages):
            if held.n_kept == len(self.turns):
                self._totals.call_turns_exact += 1
            else:
                self._totals.call_turns_diverged += 1

    # -- turns ahead -------------------------------------------------------------------------------------------------

    async def warm(self, prompt: ChatPrompt) -> Warmed:
        """Compute the prompt of a turn ahead, in the background, until a turn, another warm or new data comes.

        The context does not change: a conversation that is another than the one that is held stands beside it until its
        turn comes.

        Raises:
            ContextOverflow: it does not fit.
            InvalidRequest: the model or its template cannot take this request.
            EngineFailed: the context takes nothing in any more, or the engine gave up.
        """
        await self.stop_warming()
        number = self._n_stopped
        async with self._context.change() as change:
            _, held = await self._prepare(prompt, SamplingParams())
            opened = await self._open(change, held, SamplingParams(max_tokens=1), WorkClass.BACKGROUND)
            version = self._context.version
        warmed = Warmed(WarmFinish.CANCELLED, opened.turn.start, opened.n_held, 0, version)
        if number != self._n_stopped:
            opened.turn.close()
            return warmed
        self.drop_warmed()
        self._warming = warming = _Warming(opened.turn, version)
        if opened.n_held == opened.turn.start:
            return replace(warmed, finish=WarmFinish.COVERED)
        usage = await warming.compute()
        if usage is None:
            return warmed
        self._totals.warm_turns += 1
        self._totals.warmed_tokens += usage.prompt_tokens - usage.cached_tokens
        return replace(warmed, finish=WarmFinish.WARMED, n_found=max(usage.cached_tokens - opened.n_held, 0))

    async def stop_warming(self) -> None:
        """Cancel a warm that is going on; what it has computed stays."""
        self._n_stopped += 1
        if self._warming is not None:
            await self._warming.stop()

    def drop_warmed(self) -> None:
        """Give back what was computed ahead: the context changes."""
        warming, self._warming = self._warming, None
        if warming is not None:
            warming.close()

    def _warmed(self, base: AsyncSequence, token_ids: list[int]) -> tuple[AsyncSequence, list[int]]:
        """A sequence that holds as much of a turn as was computed ahead, and what is missing behind it."""
        warming = self._warming
        if warming is None or warming.version != self._context.version:
            return base, token_ids
        wanted = [*base.token_ids().tolist(), *token_ids]
        ahead = warming.turn.sequence
        n_common = common_prefix_len(ahead.token_ids(), wanted)
        if n_common <= base.n_tokens:
            return base, token_ids
        sequence = ahead.fork()
        base.close()
        sequence.truncate(n_common)
        return sequence, wanted[n_common:]
