"""The board of flash queries, and their evaluation on the real engine."""

from __future__ import annotations

import pytest

from kvtape.engine import AsyncEngine
from kvtape.errors import Conflict, NotFound
from kvtape.session.choices import RAW_LEADS, TEMPLATE_LEADS, ChoiceTree
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
        board.stale(1), context.fork, engine, version=1, limit=100, now=lambda: 42.5,
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
        board.stale(1), context.fork, engine, version=1, limit=10, now=lambda: 0.0,
        on_answer=lambda query, answer: ready.append(query),
    )  # fmt: skip
    assert ready == [short]
    assert long.answer is None
    assert board.stale(1) == []
    context.close()
    assert engine.stats().n_sequences == n_before


async def test_all_queries_begin_in_one_step_and_go_on_together(tiny_engine):
    engine = AsyncEngine.wrap(tiny_engine)
    context = engine.open()
    context.append("the system and the user " * 30)
    await context.resident()
    for n_queries in (1, MAX_QUERIES):
        board = FlashBoard()
        for index in range(n_queries):
            add(board, f"q{index}", max_tokens=5, ids=(10 + index, 20 + n_queries, 30))
        n_steps, answers = engine.stats().steps, []
        await evaluate(
            board.stale(1), context.fork, engine, version=1, limit=2000, now=lambda: 0.0,
            on_answer=lambda query, answer, answers=answers: answers.append(answer),
        )  # fmt: skip
        assert len(answers) == n_queries
        assert engine.stats().steps - n_steps == max(answer.n_tokens for answer in answers)
    context.close()


async def test_a_query_with_choices_is_answered_by_the_most_probable(tiny_engine):
    engine, tokenizer = AsyncEngine.wrap(tiny_engine), tiny_engine.model.tokenizer
    context = engine.open()
    context.append("the system and the user")
    board = FlashBoard()
    free = add(board, "free", ids=(12, 20))
    sets = (("on", "in"), ("user", "system"))
    chosen = [
        board.add(f"of {choices}", 4, n_tokens=1, token_ids=[12, 20], tree=ChoiceTree(tokenizer, choices, RAW_LEADS))
        for choices in sets
    ]
    ready = {}
    n_steps, n_before = engine.stats().steps, engine.stats().n_sequences
    await evaluate(
        board.stale(1), context.fork, engine, version=1, limit=100, now=lambda: 0.0,
        on_answer=lambda query, answer: ready.update({query.id: answer}),
    )  # fmt: skip
    assert engine.stats().n_sequences == n_before
    assert engine.stats().steps - n_steps <= max(query.tree.depth for query in chosen) + 1 + 4
    for query, choices in zip(chosen, sets, strict=True):
        answer = ready[query.id]
        assert answer.confidence == ready[free.id].confidence  # of the first token, whatever it may be
        assert sum(answer.probabilities.values()) == pytest.approx(1)
        assert tuple(answer.probabilities) == choices
        assert answer.value == max(choices, key=answer.probabilities.__getitem__)
        assert 0 < answer.coverage < 1
        assert answer.n_tokens == len(tokenizer.encode(answer.value))
    assert ready[free.id].probabilities is ready[free.id].coverage is None
    context.close()


async def test_evaluations_leave_nothing_in_the_prefix_index(tiny_engine):
    engine = AsyncEngine.wrap(tiny_engine)
    context = engine.open()
    context.append([5] * (engine.stats().block_size + 1))  # the rest of its second block holds question and answer
    await context.resident()
    board = FlashBoard()
    tree = ChoiceTree(tiny_engine.model.tokenizer, ("on", "user"), TEMPLATE_LEADS)
    for index in range(5):
        board.add(f"q{index}", 4, n_tokens=1, token_ids=[7 + index], tree=tree if index % 2 else None)
    n_indexed = engine.stats().kv_blocks_indexed
    answers = []
    await evaluate(
        board.stale(1), context.fork, engine, version=1, limit=100, now=lambda: 0.0,
        on_answer=lambda query, answer: answers.append(answer),
    )  # fmt: skip
    assert len(answers) == 5
    assert engine.stats().kv_blocks_indexed == n_indexed
    context.close()


async def test_choices_that_no_longer_fit_are_left_alone(tiny_engine):
    engine = AsyncEngine.wrap(tiny_engine)
    context = engine.open()
    context.append([5] * 8)
    board = FlashBoard()
    tree = ChoiceTree(tiny_engine.model.tokenizer, ("on", "in"), TEMPLATE_LEADS)
    query = board.add("q", 4, n_tokens=1, token_ids=[7], tree=tree)
    for limit in (9 + tree.depth - 1, 9 + tree.depth):  # of tokens, with the last of the longest path
        ready = []
        await evaluate(
            [query], context.fork, engine, version=1, limit=limit, now=lambda: 0.0,
            on_answer=lambda query, answer, ready=ready: ready.append(answer),
        )  # fmt: skip
        assert len(ready) == (limit == 9 + tree.depth)
    context.close()


def test_an_answer_knows_whether_it_is_another():
    board = FlashBoard()
    query = add(board, "up?")
    for value, changed in [("yes", True), ("yes", False), ("no", True), ("yes", True)]:
        query.take(FlashAnswer(value, 1, 1.0, 0, 1, FinishReason.STOP, {"yes": 0.75, "no": 0.25}, 0.5))
        event = query.ready_event()
        assert (event.value, event.changed, event.coverage) == (value, changed, 0.5)
        assert event.probabilities == {"yes": 0.75, "no": 0.25}
