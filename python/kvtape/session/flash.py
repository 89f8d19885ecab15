"""Flash queries: questions a session keeps answered, all of them in one batch after each data version."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kvtape.chat.conversation import begin_turn
from kvtape.errors import Conflict, ContextOverflow, NotFound
from kvtape.session.events import FlashReady
from kvtape.types import FinishReason, SamplingParams, WorkClass

if TYPE_CHECKING:
    from kvtape.engine import AsyncSequence

__all__ = ["FlashAnswer", "FlashBoard", "FlashQuery", "evaluate"]

MAX_QUERIES = 20


@dataclass(frozen=True, slots=True)
class FlashAnswer:
    """What the model said about one data version."""

    value: str
    version: int
    confidence: float  # logit gap between the two best first tokens
    evaluated_at: int  # Unix seconds
    n_tokens: int
    finish_reason: FinishReason


@dataclass(slots=True)
class FlashQuery:
    """A registered question, its tokens as they are appended to the context, and its newest answer."""

    id: int
    query: str
    max_tokens: int
    n_tokens: int  # length of the question itself
    token_ids: list[int]  # the question as it is asked
    answer: FlashAnswer | None = None
    tried_version: int | None = None  # the newest version it was evaluated for, answered or not

    def ready_event(self) -> FlashReady:
        """Make the event that announces the answer."""
        assert self.answer is not None
        answer = self.answer
        return FlashReady(self.id, self.query, answer.value, answer.version, answer.confidence, answer.evaluated_at)


@dataclass(slots=True)
class FlashBoard:
    """The flash queries of one session; ids start at 1 and are never used again."""

    queries: dict[int, FlashQuery] = field(default_factory=dict)
    _next_id: int = 1

    def check_new(self, query: str) -> None:
        """Check that a query can be added.

        Raises:
            Conflict: the same query is there already, or the board is full.
        """
        if any(known.query == query for known in self.queries.values()):
            raise Conflict(f"the session already has the flash query {query!r:.80}")
        if len(self.queries) >= MAX_QUERIES:
            raise Conflict(f"the session already has {MAX_QUERIES} flash queries, the most it can have")

    def add(self, query: str, max_tokens: int, *, n_tokens: int, token_ids: list[int]) -> FlashQuery:
        """Register a query.

        Raises:
            Conflict: as `check_new`.
        """
        self.check_new(query)
        added = FlashQuery(self._next_id, query, max_tokens, n_tokens, token_ids)
        self.queries[added.id] = added
        self._next_id += 1
        return added

    def remove(self, query_id: int) -> None:
        """Forget a query.

        Raises:
            NotFound: there is none with this id.
        """
        if self.queries.pop(query_id, None) is None:
            raise NotFound(f"the session has no flash query {query_id}")

    def stale(self, version: int) -> list[FlashQuery]:
        """Return the queries that have not been evaluated for `version`."""
        return [query for query in self.queries.values() if query.tried_version != version]

    def find_answer(self, question: str, version: int) -> FlashQuery | None:
        """Return the query that asks the same, outer white space apart, and has an answer about `version`."""
        wanted = question.strip()
        for query in self.queries.values():
            if query.query.strip() == wanted and query.answer is not None and query.answer.version == version:
                return query
        return None


async def evaluate(
    queries: list[FlashQuery],
    branch: Callable[[], AsyncSequence],
    *,
    version: int,
    limit: int,
    now: Callable[[], float],
    on_answer: Callable[[FlashQuery, FlashAnswer], None],
) -> None:
    """Answer every query on its own branch of the context at `version`, all branches at once.

    The branches are made before the first await, so they all see the version that is current when the call starts.
    A query that no longer fits the context is left as it was.
    """
    branches = [branch() for _ in queries]
    try:
        async with asyncio.TaskGroup() as group:
            for query, sequence in zip(queries, branches, strict=True):
                query.tried_version = version
                group.create_task(_evaluate_one(query, sequence, version, limit, now, on_answer))
    finally:
        for sequence in branches:
            sequence.close()


async def _evaluate_one(
    query: FlashQuery,
    sequence: AsyncSequence,
    version: int,
    limit: int,
    now: Callable[[], float],
    on_answer: Callable[[FlashQuery, FlashAnswer], None],
) -> None:
    try:
        params = SamplingParams(max_tokens=query.max_tokens)
        turn = begin_turn(sequence, query.token_ids, params, limit=limit, param="query", work=WorkClass.FLASH)
    except ContextOverflow:
        return
    events = await turn.collect()
    last = events[-1]
    assert last.finish_reason is not None
    answer = FlashAnswer(
        value="".join(event.text for event in events).strip(),
        version=version,
        confidence=events[0].logit_gap or 0.0,
        evaluated_at=int(now()),
        n_tokens=len(events),
        finish_reason=last.finish_reason,
    )
    on_answer(query, answer)
