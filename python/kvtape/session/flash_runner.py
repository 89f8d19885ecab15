"""Keeps a session's flash queries answered: after each data version, all that have no answer for it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from kvtape.chat.framing import Framing
from kvtape.errors import EngineFailed, SequenceLost
from kvtape.session.choices import RAW_LEADS, TEMPLATE_LEADS, ChoiceTree
from kvtape.session.context import LiveContext
from kvtape.session.flash import FlashAnswer, FlashBoard, FlashQuery, evaluate
from kvtape.session.timings import Histogram

if TYPE_CHECKING:
    from kvtape.engine import AsyncEngine

__all__ = ["FlashRunner"]

log = logging.getLogger(__name__)


class FlashRunner:
    """The flash queries of one session, and the task that evaluates them.

    Args:
        context: what the queries are about.
        framing: how they are asked.
        engine: that runs them.
        on_begin: is told that an evaluation begins.
        on_end: that all queries have been evaluated for the current version.
        on_answer: of a query that has a new answer.
        took: counts how long evaluations take.
        now: Unix seconds.
    """

    def __init__(
        self,
        context: LiveContext,
        framing: Framing,
        engine: AsyncEngine,
        *,
        on_begin: Callable[[], None],
        on_end: Callable[[], None],
        on_answer: Callable[[FlashQuery], None],
        took: Histogram,
        now: Callable[[], float],
    ) -> None:
        self.board = FlashBoard()
        self.task: asyncio.Task[None] | None = None  # while there is something to evaluate
        self._context = context
        self._framing = framing
        self._engine = engine
        self._on_begin = on_begin
        self._on_end = on_end
        self._on_answer = on_answer
        self._took = took
        self._now = now
        self._closed = False

    async def add(
        self, query: str, max_tokens: int, choices: Sequence[str] = (), *, param: str = "choices"
    ) -> FlashQuery:
        """Register a flash query; on a session that holds data it is evaluated right away.

        With `choices`, its answer is the most probable of these, and how probable each of them is.

        Raises:
            Conflict: the session has this query already, or as many as it can.
            InvalidRequest: there cannot be such choices, as `ChoiceTree`; `param` names them.
        """
        self.board.check_new(query)
        n_tokens, ids, tree = await asyncio.to_thread(self._prepare, query, choices, param)
        added = self.board.add(query, max_tokens, n_tokens=n_tokens, token_ids=ids, tree=tree)
        self.refresh()
        return added

    def _prepare(self, query: str, choices: Sequence[str], param: str) -> tuple[int, list[int], ChoiceTree | None]:
        leads = TEMPLATE_LEADS if self._framing.asks_in_turns else RAW_LEADS
        tree = ChoiceTree(self._engine.model.tokenizer, choices, leads, param=param) if choices else None
        return len(self._framing.encode_text(query)), self._framing.encode_question(query), tree

    def refresh(self) -> None:
        """Start evaluating unless that is running already; a running one goes on to newer versions by itself."""
        version = self._context.version
        if self.task is None and version and not self._closed and self.board.stale(version):
            self._on_begin()
            self.task = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        """Evaluate nothing any more."""
        self._closed = True
        if self.task is not None:
            self.task.cancel()
            await asyncio.wait({self.task})

    async def _run(self) -> None:
        try:
            while not self._closed and (queries := self.board.stale(self._context.version)):
                began = time.monotonic()
                await self._evaluate(queries)
                self._took.observe(time.monotonic() - began)
        except* EngineFailed as errors:
            log.error("a session no longer evaluates its flash queries: %s", errors.exceptions[0])
        finally:
            self.task = None
        self._on_end()

    async def _evaluate(self, queries: list[FlashQuery]) -> None:
        context = self._context
        await context.make_room(max(query.n_room for query in queries))
        version = context.version
        try:
            await evaluate(
                queries,
                context.branch,
                self._engine,
                version=version,
                limit=context.n_ctx,
                now=self._now,
                on_answer=self._take_answer,
            )
        except* SequenceLost:  # with a window, KV that is taken away is gone: ask those again that have no answer
            for query in queries:
                if query.answer is None or query.answer.version != version:
                    query.tried_version = None
            await context.recover()

    def _take_answer(self, query: FlashQuery, answer: FlashAnswer) -> None:
        if self.board.queries.get(query.id) is query:
            query.take(answer)
            self._on_answer(query)
