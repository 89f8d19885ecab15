"""A live-data session: a durable context, the questions asked on forks of it, its flash queries and its listeners."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from kvtape.chat.conversation import Turn, begin_turn
from kvtape.chat.framing import Framing
from kvtape.errors import Conflict, InvalidRequest, SequenceLost
from kvtape.session.answer import Answer
from kvtape.session.context import LiveContext, PushAck
from kvtape.session.events import DataUpdated, EventHub
from kvtape.session.flash import FlashBoard, FlashQuery
from kvtape.session.flash_runner import FlashRunner
from kvtape.session.ready import GAP_THRESHOLD, ReadyPosition
from kvtape.session.row_types import ROW_TYPES
from kvtape.session.shared_feed import SharedFeed
from kvtape.session.spec import OVERFLOWS, TEXT, SessionSpec
from kvtape.session.timings import SessionTimings
from kvtape.session.turns import Conversation, SessionTurn, Warmed
from kvtape.types import ChatPrompt, SamplingParams, Thinking, TokenEvent

if TYPE_CHECKING:
    from kvtape.engine import AsyncEngine, AsyncSequence

__all__ = ["Session", "SessionCounters"]

log = logging.getLogger(__name__)

ANSWER_ROOM = 256  # tokens of an answer for which a window makes room
FOREGROUND_WAIT = 2.0  # seconds a second question waits for the first; clients of the second generation do not


@dataclass(slots=True)
class SessionCounters:
    """Totals over all sessions of a manager."""

    turns: int = 0
    call_turns_exact: int = 0  # of conversations with calls, whose history was the one that is held
    call_turns_diverged: int = 0  # and was another
    warm_turns: int = 0
    warmed_tokens: int = 0
    flash_hits: int = 0
    ready_exits: int = 0
    cached_tokens: int = 0
    ingested_tokens: int = 0
    timings: SessionTimings = field(default_factory=SessionTimings)


class Session:
    """See the module. Made by `SessionManager.create`; runs on the event loop."""

    def __init__(
        self,
        session_id: str,
        spec: SessionSpec,
        engine: AsyncEngine,
        framing: Framing,
        *,
        totals: SessionCounters,
        on_data: Callable[[Session], None],
        now: Callable[[], float] = time.time,
    ) -> None:
        if spec.context is not None and spec.context > engine.n_ctx:
            raise InvalidRequest(
                f"context must be at most {engine.n_ctx} tokens on this server, found {spec.context}", param="context"
            )
        if spec.type != TEXT and spec.type not in ROW_TYPES:
            raise InvalidRequest(f"type must be one of {', '.join(ROW_TYPES)}, found {spec.type!r:.40}", param="type")
        if spec.overflow not in (None, *OVERFLOWS):
            raise InvalidRequest(
                f"overflow must be one of {', '.join(OVERFLOWS)}, found {spec.overflow!r:.40}", param="overflow"
            )
        if spec.window is not None and spec.window < 1:
            raise InvalidRequest(f"window must be at least 1 token, found {spec.window}", param="window")
        self.id = session_id
        self.spec = spec
        self.turns = 0
        self.hub = EventHub()
        self.created = self.last_used = now()
        self._engine = engine
        self._framing = framing
        self._totals = totals
        self._now = now
        self.shared_feed: SharedFeed | None = None
        self._tail: AsyncSequence | None = None
        self._foreground = asyncio.Lock()
        self._closed = False
        self.context = LiveContext(
            engine.open,
            spec.context or engine.n_ctx,
            ROW_TYPES.get(spec.type),
            window=spec.window,
            policy=spec.policy,
            on_data=lambda: on_data(self),
            on_change=self._drop_ephemeral,
            on_settled=self._settled,
            on_ingested=self._ingested,
            now=now,
        )
        self.conversation = Conversation(
            framing, self.context, totals, on_turn=self._count_turn, on_end=self._release_foreground
        )
        self.flash = FlashRunner(
            self.context,
            framing,
            engine,
            on_begin=lambda: self.ready.stop(),
            on_end=lambda: self.ready.refresh(),
            on_answer=self._answered,
            took=totals.timings.flash,
            now=now,
        )
        self.ready = ReadyPosition(self.context, whole_words=spec.wire == 1, may_run=self._has_time)

    async def begin(self) -> None:
        """Take in the prompt and register the flash queries the session was created with.

        Raises:
            ContextOverflow: the prompt does not fit.
            Conflict: two of the flash queries are equal, or there are too many; or somebody reads the shared ring.
            InvalidRequest: the window does not fit, or the shared ring cannot be made.
        """
        self.context.begin(self._framing.head, self._framing.head_ids)
        for index, flash in enumerate(self.spec.flash):
            await self.flash.add(flash.query, flash.max_tokens, flash.choices, param=f"flash[{index}].choices")
        if self.spec.mark_prefix:
            await self.mark_prefix()
        if self.spec.shared_ring is not None:
            self.shared_feed = SharedFeed(self.spec.shared_ring, self.spec.policy, self.context)

    @property
    def version(self) -> int:
        """The data version: how often the durable context has changed."""
        return self.context.version

    @property
    def board(self) -> FlashBoard:
        """The flash queries and their answers."""
        return self.flash.board

    @property
    def n_tokens(self) -> int:
        """Tokens of the context, the tail of the last question included."""
        return (self._tail or self.context.sequence).n_tokens

    @property
    def kv_tokens(self) -> int:
        """Of these, the ones whose KV is resident."""
        return (self._tail or self.context.sequence).n_cached

    @property
    def busy(self) -> bool:
        """Whether a request has the foreground."""
        return self._foreground.locked()

    @property
    def idle(self) -> bool:
        """Whether nothing is running, pending or listening."""
        context = self.context
        fed = self.shared_feed is not None and self.shared_feed.ring.has_writer
        runs = self.busy or self.flash.task or self.ready.running or fed
        return not (runs or context.changing or len(context.intake) or len(self.hub))

    def token_ids(self) -> np.ndarray:
        """Return the tokens that the model sees, int32: the context, tail included, without what has left."""
        sequence = self._tail or self.context.sequence
        return np.delete(sequence.token_ids(), slice(*sequence.hole))

    def touch(self) -> None:
        """Restart the clock of idleness."""
        self.last_used = self._now()

    async def append(self, text: str) -> int:
        """Append raw text to the durable context; returns the number of tokens added.

        Raises:
            ContextOverflow: the text does not fit; nothing has changed.
            Conflict: another request has the foreground.
        """
        ids = await asyncio.to_thread(self._framing.encode_text, text)
        await self._take_foreground()
        try:
            await self.context.append(text, ids)
        finally:
            self._release_foreground()
        return len(ids)

    async def mark_prefix(self) -> int:
        """Freeze the context as the session's prefix; returns its end in tokens.

        Raises:
            InvalidRequest: it leaves too little room for the window to move.
        """
        return await self.context.mark_prefix()

    def push(self, data: str | Sequence[Any] | np.ndarray) -> PushAck:
        """Queue data; returns at once. See `LiveContext.push`."""
        return self.context.push(data)

    # -- questions ---------------------------------------------------------------------------------------------------

    def try_answer(
        self,
        question: str | None,
        params: SamplingParams,
        *,
        fast_answer: bool | None = None,
        candidates: Sequence[str] = (),
        gap_threshold: float = GAP_THRESHOLD,
        thinking: Thinking | None = None,
    ) -> Answer | None:
        """Return an answer that is there already; None: `ask`. It waits for nobody, whoever has the foreground.

        - The current answer of a flash query that asks the same, if `fast_answer` is true; also where it is None and
          the request sets no stop strings and is greedy or of the second generation, whose clients draw by default.
        - One of the `candidates`, if the ready position decides for it; with `fast_answer` true and no candidates the
          first word. The gap to the second best token must be at least `gap_threshold`.

        `thinking` that may change the prompt rules out both, and so does data that is on its way.
        """
        if not self._caught_up or not _is_plain(thinking):
            return None
        return self._find(question, params, fast_answer, candidates, gap_threshold, time.monotonic())

    async def ask(
        self,
        question: str | None,
        params: SamplingParams,
        *,
        fast_answer: bool | None = None,
        candidates: Sequence[str] = (),
        gap_threshold: float = GAP_THRESHOLD,
        thinking: Thinking | None = None,
        keep_tail: bool = True,
    ) -> Answer:
        """Start answering a question about everything acknowledged so far; None continues the context as it is.

        What `try_answer` finds is served at once; also where it is there when the context has caught up, or where
        `thinking` proves to change nothing in the prompt.

        Raises:
            Conflict: another request has the foreground and did not end in time.
            ContextOverflow: the question does not fit.
            InvalidRequest: there is nothing to generate from.
        """
        began = time.monotonic()
        find = partial(self._find, question, params, fast_answer, candidates, gap_threshold, began)
        if self._caught_up and _is_plain(thinking) and (answer := find()):
            return answer
        self.ready.stop()
        ids: list[int] = []
        plain = True
        if question is not None:
            ids, plain = await asyncio.to_thread(self._encode_question, question, thinking)
        await self._take_foreground()
        try:
            await self.conversation.stop_warming()
            await self.context.caught_up()
            if plain and (answer := find()):
                self._release_foreground()
                return answer
            begin = partial(self._begin_turn, ids, params, on_tail=question is None)
            turn = await begin()
            if question is not None and plain and self.spec.pre_decode:
                self.ready.asked(question, ids)
            return Answer(self, self.version, turn=turn, begin=begin, keep_tail=keep_tail, began=began)
        except BaseException:
            self._release_foreground()
            raise

    async def _begin_turn(self, ids: list[int], params: SamplingParams, *, on_tail: bool) -> Turn:
        """Fork the context, or the tail that the last question left, and append a question."""
        while True:
            await self.context.make_room(len(ids) + min(params.max_tokens or ANSWER_ROOM, ANSWER_ROOM))
            try:
                branch = self._tail.fork() if on_tail and self._tail is not None else self.context.branch()
                try:
                    return begin_turn(branch, ids, params, limit=self.context.n_ctx, param="prompt")
                except BaseException:
                    branch.close()
                    raise
            except SequenceLost:
                self._drop_tail()
                await self.context.recover()

    def _encode_question(self, question: str, thinking: Thinking | None) -> tuple[list[int], bool]:
        """Return a question's tokens, and whether they are those of the same question without `thinking`."""
        ids = self._framing.encode_question(question, thinking)
        return ids, _is_plain(thinking) or ids == self._framing.encode_question(question)

    @property
    def _caught_up(self) -> bool:
        """Whether everything acknowledged is part of the current version."""
        context = self.context
        return not (context.changing or context.n_pending or context.fault)

    def _find(
        self,
        question: str | None,
        params: SamplingParams,
        fast_answer: bool | None,
        candidates: Sequence[str],
        gap_threshold: float,
        began: float,
    ) -> Answer | None:
        """Return an answer that is there already, if it may be served."""
        if question is None:
            return None
        drawn = self.spec.wire == 1 and params.temperature > 0.0
        allowed = not (drawn or params.stop) if fast_answer is None else fast_answer
        query = self.board.find_answer(question, self.version) if allowed else None
        if query and (found := query.answer) and (params.max_tokens is None or found.n_tokens <= params.max_tokens):
            self._totals.flash_hits += 1
            return Answer(self, self.version, cached=query, found=found, text=found.value, began=began)
        ready = self.ready.find(question) if candidates or fast_answer else None
        if ready is None or ready.gap < gap_threshold:
            return None
        text = ready.decides(candidates) if candidates else ready.word
        if not text:
            return None
        self._totals.ready_exits += 1
        return Answer(self, self.version, text=text, speculative=True, logit_gap=ready.gap, began=began)

    def _end(self, answer: Answer) -> None:
        turn = answer.turn
        if turn is None or turn.finished is not None:
            self._count_turn(turn.finished if turn is not None else None)
            source = "model" if turn is not None else "ready" if answer.speculative else "flash"
            self._totals.timings.question[source].observe(time.monotonic() - answer.began)
        if turn is None:
            return
        current = answer.version == self.version and not self.context.changing and not self._closed
        self._drop_tail()
        if turn.finished is not None and answer.keep_tail and current:
            self._tail = turn.sequence
        else:
            turn.close()
        self._release_foreground()

    def _has_time(self) -> bool:
        """Whether nothing runs that must not be delayed."""
        return not (self.busy or self.flash.task or self._closed)

    def _count_turn(self, last: TokenEvent | None) -> None:
        self.turns += 1
        self._totals.turns += 1
        if last is not None and last.usage is not None:
            self._totals.cached_tokens += last.usage.cached_tokens

    def _drop_ephemeral(self) -> None:
        """The context changes: what stands behind it no longer does."""
        self._drop_tail()
        self.conversation.drop_warmed()

    def _drop_tail(self) -> None:
        if self._tail is not None:
            self._tail.close()
            self._tail = None

    async def _take_foreground(self) -> None:
        """Take the foreground, or wait for it where the session's clients would only try again."""
        try:
            async with asyncio.timeout(FOREGROUND_WAIT if self.spec.wire == 1 else 0.0):
                await self._foreground.acquire()
        except TimeoutError:
            raise Conflict(f"session {self.id} is busy with another request") from None
        self.ready.stop()  # it may have begun again while the question was encoded

    def _release_foreground(self) -> None:
        self._foreground.release()
        self.touch()
        self.ready.refresh()

    # -- conversations -----------------------------------------------------------------------------------------------

    async def chat(self, prompt: ChatPrompt, params: SamplingParams) -> SessionTurn:
        """Start a turn of a conversation, which becomes part of the context; it must be closed in any case.

        Raises:
            Conflict: another request has the foreground and did not end in time.
            ContextOverflow: the conversation does not fit; nothing has changed.
            InvalidRequest: the model or its template cannot take this request.
        """
        await self._take_foreground()
        try:
            return await self.conversation.begin(prompt, params)
        except BaseException:
            self._release_foreground()
            raise

    async def warm(self, prompt: ChatPrompt) -> Warmed:
        """Compute the prompt of a turn ahead, until a turn or another warm comes; nothing becomes durable.

        Raises:
            Conflict: a turn is running or waiting.
            ContextOverflow: the conversation does not fit.
            InvalidRequest: the model or its template cannot take this request.
        """
        if self.busy:
            raise Conflict(f"session {self.id} is busy with another request")
        return await self.conversation.warm(prompt)

    # -- versions ----------------------------------------------------------------------------------------------------

    def _settled(self) -> None:
        context = self.context
        n_dropped = context.counters.total_dropped
        self.hub.publish(DataUpdated(self.version, context.settled_end, context.n_pending, context.n_rows, n_dropped))
        self.flash.refresh()
        self.ready.refresh()

    def _ingested(self, n_tokens: int, seconds: float) -> None:
        self._totals.ingested_tokens += n_tokens
        self._totals.timings.settled.observe(seconds)

    def _answered(self, query: FlashQuery) -> None:
        self.hub.publish(query.ready_event())

    async def close(self) -> None:
        """Stop everything, free the KV and end all event streams."""
        self._closed = True
        if self.shared_feed is not None:
            await self.shared_feed.close()
        self.ready.stop()
        await self.flash.close()
        self._drop_ephemeral()
        await self.context.close()
        self.hub.close()


def _is_plain(thinking: Thinking | None) -> bool:
    return thinking is None or thinking.enabled is None
