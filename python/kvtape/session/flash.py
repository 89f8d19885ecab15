"""Flash queries: questions a session keeps answered, all of them in one batch after each data version."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from kvtape.chat.conversation import begin_turn
from kvtape.errors import Conflict, ContextOverflow, NotFound
from kvtape.session.choices import ChoiceTree, Odds, Weighing, weigh
from kvtape.session.events import FlashReady
from kvtape.types import FinishReason, SamplingParams, TokenEvent, WorkClass

if TYPE_CHECKING:
    from kvtape.engine import AsyncEngine, AsyncGeneration, AsyncSequence

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
    probabilities: Mapping[str, float] | None = None  # of the declared choices, which sum to 1; None: any answer
    coverage: float | None = None  # the probability of all choices together


@dataclass(slots=True)
class FlashQuery:
    """A registered question, its tokens as they are appended to the context, and its newest answer."""

    id: int
    query: str
    max_tokens: int
    n_tokens: int  # length of the question itself
    token_ids: list[int]  # the question as it is asked
    tree: ChoiceTree | None = None  # of the answers it may have; None: any
    answer: FlashAnswer | None = None
    changed: bool = True  # whether that says something else than the one before it
    tried_version: int | None = None  # the newest version it was evaluated for, answered or not

    @property
    def n_room(self) -> int:
        """Tokens that the question and its answer take at most."""
        return len(self.token_ids) + (self.max_tokens if self.tree is None else self.tree.depth)

    def take(self, answer: FlashAnswer) -> None:
        """Make `answer` the newest."""
        self.changed = self.answer is None or self.answer.value != answer.value
        self.answer = answer

    def ready_event(self) -> FlashReady:
        """Make the event that announces the answer."""
        assert self.answer is not None
        answer = self.answer
        return FlashReady(
            self.id, self.query, answer.value, answer.version, answer.confidence, answer.evaluated_at,
            answer.probabilities, answer.coverage, changed=self.changed,
        )  # fmt: skip


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

    def add(
        self, query: str, max_tokens: int, *, n_tokens: int, token_ids: list[int], tree: ChoiceTree | None = None
    ) -> FlashQuery:
        """Register a query.

        Raises:
            Conflict: as `check_new`.
        """
        self.check_new(query)
        added = FlashQuery(self._next_id, query, max_tokens, n_tokens, token_ids, tree)
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
    engine: AsyncEngine,
    *,
    version: int,
    limit: int,
    now: Callable[[], float],
    on_answer: Callable[[FlashQuery, FlashAnswer], None],
) -> None:
    """Answer every query on its own branch of the context at `version`, all branches at once.

    They begin in one step of the engine, which reads the context once for all of them. The branches are made before the
    first await, so they all see the version that is current when the call starts. A query that no longer fits the
    context is left as it was.
    """
    branches: list[AsyncSequence] = []
    begun: list[_Begun] = []
    try:
        with engine.together():
            for query in queries:
                query.tried_version = version
                branches.append(branch())
                with suppress(ContextOverflow):
                    begun.append(_Begun(query, branches[-1], _begin(query, branches[-1], limit)))

        def publish(query: FlashQuery, first: TokenEvent, answer: _Found) -> None:
            on_answer(
                query,
                FlashAnswer(
                    value=answer.value,
                    version=version,
                    confidence=first.logit_gap or 0.0,
                    evaluated_at=int(now()),
                    n_tokens=answer.n_tokens,
                    finish_reason=answer.finish_reason,
                    probabilities=answer.odds.probabilities if answer.odds else None,
                    coverage=answer.odds.coverage if answer.odds else None,
                ),
            )

        async with asyncio.TaskGroup() as group:
            for one in begun:
                if one.query.tree is None:
                    group.create_task(_generate(one, publish))
            group.create_task(_choose([one for one in begun if one.query.tree is not None], engine, publish))
        for one in begun:
            if one.query.tree is None:
                one.sequence.truncate(0)  # not to be found by its prefix: nobody asks this version the same again
    finally:
        for sequence in branches:
            sequence.close()


class _Begun(NamedTuple):
    """A query whose first tokens are on their way."""

    query: FlashQuery
    sequence: AsyncSequence
    events: AsyncGeneration


class _Found(NamedTuple):
    """An answer, but for when and about what."""

    value: str
    n_tokens: int
    finish_reason: FinishReason
    odds: Odds | None = None


_Publish = Callable[[FlashQuery, TokenEvent, _Found], None]


def _begin(query: FlashQuery, sequence: AsyncSequence, limit: int) -> AsyncGeneration:
    tree = query.tree
    params = SamplingParams(max_tokens=query.max_tokens) if tree is None else tree.root.params()
    room = 1 if tree is None else tree.depth
    turn = begin_turn(sequence, query.token_ids, params, limit=limit - room + 1, param="query", work=WorkClass.FLASH)
    return sequence.generate(turn.params, work=WorkClass.FLASH)


async def _generate(one: _Begun, publish: _Publish) -> None:
    events = [event async for event in one.events]
    finish_reason = events[-1].finish_reason
    assert finish_reason is not None
    value = "".join(event.text for event in events).strip()
    publish(one.query, events[0], _Found(value, len(events), finish_reason))


async def _choose(begun: list[_Begun], engine: AsyncEngine, publish: _Publish) -> None:
    """Answer queries with the most probable of their choices; all their trees are followed together."""
    roots, asked = [], {}
    for one in begun:
        assert one.query.tree is not None
        weighing, first = Weighing(one.query.tree), await anext(one.events)
        roots.append((weighing, one.sequence, first))
        asked[weighing] = (one.query, first)

    def done(weighing: Weighing) -> None:
        odds, tree = weighing.odds(), weighing.tree
        n_tokens = tree.n_tokens[tree.choices.index(odds.best)]
        publish(*asked[weighing], _Found(odds.best, n_tokens, FinishReason.STOP, odds))

    await weigh(roots, engine, work=WorkClass.FLASH, on_done=done)
