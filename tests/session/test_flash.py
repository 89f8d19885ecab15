"""The board of flash queries, and their evaluation on the real engine."""

from __future__ import annotations

import pytest

from kvtape.engine import AsyncEngine
from kvtape.errors import Conflict, NotFound
from kvtape.session.flash import MAX_QUERIES, FlashAnswer, FlashBoard, evaluate
from kvtape.types import FinishReason, SamplingParams


def add(board, query, max_tokens=4, ids=(7, 8)):
    return board.add(query, max_tokens, n_tokens=len(ids), token_ids=list(ids))


def answer(version):
    return FlashAnswer("yes", version, 1.0, 0, 1, FinishReason.STOP)


def test_ids_start_at_one_and_are_never_used_again():
    board = FlashBoard()
    assert [add(board, name).id for name in "abc"] == [1, 2, 3]
    board.remove(3)
    assert add(board, "c").id == 4
    with pytest.raises(NotFound):
        board.remove(3)


def test_duplicates_and_too_many_are_conflicts():
    board = FlashBoard()
    for index in range(MAX_QUERIES):
        add(board, f"q{index}")
    with pytest.raises(Conflict, match="20"):
        add(board, "one more")
    board.remove(1)
    with pytest.raises(Conflict, match="q5"):
        add(board, "q5")


def test_only_an_answer_about_the_current_version_is_found():
    board = FlashBoard()
    query = add(board, " is it up? ")
    assert board.find_answer("is it up?", 3) is None
    query.answer = answer(3)
    assert board.find_answer("is it up?\n", 3) is query
    assert board.find_answer("is it up?", 4) is None
    assert board.find_answer("is it UP?", 3) is None


async def test_answers_equal_those_of_questions_asked_alone(tiny_engine):
    engine = AsyncEngine.wrap(tiny_engine)
    context = engine.open()
    context.append("the system and the user")
    board = FlashBoard()
    for index in range(6):
        add(board, f"q{index}", max_tokens=3 + index, ids=(10 + index, 20))
    ready = {}
    await evaluate(
        board.stale(1), context.fork, version=1, limit=100, now=lambda: 42.5,
        on_answer=lambda query, answer: ready.update({query.id: answer}),
    )  # fmt: skip
    assert sorted(ready) == [1, 2, 3, 4, 5, 6]
    assert board.stale(1) == []
    assert len(board.stale(2)) == 6
    for query in board.queries.values():
        alone = context.fork()
        alone.append(query.token_ids)
        events = [event async for event in alone.generate(SamplingParams(max_tokens=query.max_tokens))]
        alone.close()
        found = ready[query.id]
        assert found.value == "".join(event.text for event in events).strip()
        assert found.confidence == events[0].logit_gap
        assert (found.version, found.evaluated_at, found.n_tokens) == (1, 42, len(events))
    context.close()


async def test_a_query_that_does_not_fit_is_tried_once_and_left_alone(tiny_engine):
    engine = AsyncEngine.wrap(tiny_engine)
    n_before = engine.stats().n_sequences
    context = engine.open()
    context.append([5] * 8)
    board = FlashBoard()
    long, short = add(board, "long", ids=[7] * 4), add(board, "short", ids=[7])
    ready = []
    await evaluate(
        board.stale(1), context.fork, version=1, limit=10, now=lambda: 0.0,
        on_answer=lambda query, answer: ready.append(query),
    )  # fmt: skip
    assert ready == [short]
    assert long.answer is None
    assert board.stale(1) == []
    context.close()
    assert engine.stats().n_sequences == n_before
