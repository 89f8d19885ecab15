"""Questions and flash queries of one session, on the real engine over a tiny random model."""

from __future__ import annotations

import asyncio

import pytest

from kvtape.engine import AsyncEngine
from kvtape.errors import Conflict, ContextOverflow, InvalidRequest, KvtapeError
from kvtape.session import session as session_module
from kvtape.session.events import DataUpdated, FlashReady
from kvtape.session.manager import SessionManager
from kvtape.session.spec import FlashSpec, SessionSpec
from kvtape.types import SamplingParams
from tests.serving import CANDLES

SHORT = SamplingParams(max_tokens=4, ignore_eos=True)


@pytest.fixture
async def manager(tiny_engine):
    made = SessionManager(AsyncEngine.wrap(tiny_engine))
    yield made
    await made.aclose()


async def ask(session, question, params=SHORT, **options):
    answer = await session.ask(question, params, **options)
    try:
        events = await answer.turn.collect() if answer.turn else []
    finally:
        answer.close()
    return answer, [event.token_id for event in events]


async def settle(session):
    await session.context.caught_up()
    while session.flash.task is not None:
        await session.flash.task


async def test_a_session_opens_with_its_prompt(manager):
    session = await manager.create(SessionSpec("be brief", mark_prefix=True))
    text = manager._engine.model.tokenizer.decode(session.token_ids().tolist(), special=True)
    assert text == "<|im_start|>system\nbe brief<|im_end|>\n"
    assert session.version == 0
    assert session.context.prefix_end == session.n_tokens


async def test_the_answer_is_about_everything_acknowledged_before_the_question(manager):
    session = await manager.create(SessionSpec("be brief"))
    ack = session.context.push(CANDLES)
    assert (ack.n_pushed, ack.n_dropped, ack.version) == (5, 0, 0)
    answer, _ = await ask(session, "up?")
    assert answer.version == session.version == 1
    assert session.context.tape.n_rows == 5


async def test_answers_equal_those_of_the_whole_text_in_one_piece(manager):
    session = await manager.create(SessionSpec("be brief"))
    for candle in CANDLES:
        session.context.push([candle])
        await session.context.caught_up()
    _, tokens = await ask(session, "up or down?")
    engine = manager._engine
    sequence = engine.open()
    question = session._framing.encode_question("up or down?")
    sequence.append([*session.context.tape.token_ids().tolist(), *question])
    events = [event async for event in sequence.generate(SHORT)]
    sequence.close()
    assert tokens == [event.token_id for event in events]


async def test_question_and_answer_are_a_tail_until_the_next_durable_change(manager):
    session = await manager.create(SessionSpec("be brief"))
    session.context.push(CANDLES[:2])
    await settle(session)
    durable = session.context.tape.token_ids().tolist()
    _, first = await ask(session, "up?")
    assert session.n_tokens > len(durable)
    assert session.token_ids().tolist()[: len(durable)] == durable
    _, again = await ask(session, "up?")  # on the durable context, not behind the first answer
    assert again == first
    session.context.push(CANDLES[2:3])
    await settle(session)
    assert session.token_ids().tolist() == session.context.tape.token_ids().tolist()
    assert session.token_ids().tolist()[: len(durable)] == durable


async def test_without_a_question_the_tail_is_continued(manager):
    session = await manager.create(SessionSpec("be brief"))
    _, first = await ask(session, "up?")
    n_tokens = session.n_tokens
    _, more = await ask(session, None)
    assert session.n_tokens == n_tokens + 4
    assert session.token_ids().tolist()[-8:] == [*first, *more]


async def test_the_tail_goes_when_it_is_not_wanted(manager):
    session = await manager.create(SessionSpec("be brief"))
    n_tokens = session.n_tokens
    await ask(session, "up?", keep_tail=False)
    assert session.n_tokens == n_tokens


async def test_an_empty_session_has_nothing_to_continue(manager):
    session = await manager.create(SessionSpec())
    with pytest.raises(InvalidRequest):
        await session.ask(None, SHORT)
    await ask(session, "up?")  # and is not left busy


async def test_a_question_that_does_not_fit_leaves_the_session_as_it_was(manager):
    session = await manager.create(SessionSpec("be brief", context=100))
    n_tokens = session.n_tokens
    with pytest.raises(ContextOverflow) as caught:
        await session.ask("x" * 100, SHORT)
    assert caught.value.param == "prompt"
    assert (session.busy, session.n_tokens) == (False, n_tokens)
    _, tokens = await ask(session, "up?", SamplingParams(ignore_eos=True))
    assert session.n_tokens == 100
    assert tokens


async def test_a_context_longer_than_the_engine_is_refused(manager):
    with pytest.raises(InvalidRequest) as caught:
        await manager.create(SessionSpec(context=4096))
    assert caught.value.param == "context"


async def test_a_second_question_waits_and_then_conflicts(manager, monkeypatch):
    session = await manager.create(SessionSpec("be brief"))
    first = await session.ask("up?", SHORT)
    assert session.busy
    waiting = asyncio.create_task(ask(session, "down?"))
    await asyncio.sleep(0)
    first.close()
    await waiting
    first = await session.ask("up?", SHORT)
    monkeypatch.setattr(session_module, "FOREGROUND_WAIT", 0.01)
    with pytest.raises(Conflict):
        await session.ask("down?", SHORT)
    first.close()
    first.close()
    assert not session.busy


async def test_an_append_is_durable_and_in_order(manager):
    session = await manager.create(SessionSpec("be brief"))
    session.context.push(CANDLES[:1])
    n_added = await session.append("note")
    session.context.push(CANDLES[1:2])
    await settle(session)
    assert n_added == len(manager._engine.model.tokenizer.encode("note"))
    assert [entry.kind for entry in session.context.tape] == ["prompt", "header", "rows", "text", "rows"]
    assert session.version == 3
    assert session.token_ids().tolist() == session.context.tape.token_ids().tolist()


async def test_an_append_that_does_not_fit_changes_nothing(manager):
    session = await manager.create(SessionSpec("be brief", context=60))
    version, n_tokens = session.version, session.n_tokens
    with pytest.raises(ContextOverflow) as caught:
        await session.append("x" * 60)
    assert caught.value.param == "text"
    assert (session.version, session.n_tokens, session.busy) == (version, n_tokens, False)


async def test_flash_queries_are_answered_after_each_version_and_announced_in_order(manager):
    session = await manager.create(SessionSpec("be brief", flash=(FlashSpec("up?", 4), FlashSpec("down?", 4))))
    subscription = session.hub.subscribe()
    await session.flash.add("flat?", 4)
    assert session.board.stale(0) == list(session.board.queries.values())  # no data, nothing evaluated
    for candle in CANDLES[:3]:
        session.context.push([candle])
        await settle(session)
    session.hub.close()
    events = [item.event async for batch in subscription.batches() for item in batch]
    assert [event.version for event in events if isinstance(event, DataUpdated)] == [1, 2, 3]
    for version in (1, 2, 3):
        about = [event for event in events if event.version == version]
        assert isinstance(about[0], DataUpdated)
        assert sorted(event.query_id for event in about[1:]) == [1, 2, 3]
        assert all(isinstance(event, FlashReady) for event in about[1:])


async def test_a_flash_query_on_data_is_answered_right_away(manager):
    session = await manager.create(SessionSpec("be brief"))
    session.context.push(CANDLES)
    await settle(session)
    query = await session.flash.add("up?", 4)
    await settle(session)
    assert query.answer.version == 1


async def test_a_started_evaluation_finishes_for_its_version(manager):
    session = await manager.create(SessionSpec("be brief", flash=(FlashSpec("up?", 64),)))
    subscription = session.hub.subscribe()
    session.context.push(CANDLES[:1])
    await session.context.caught_up()
    session.context.push(CANDLES[1:2])
    await session.context.caught_up()
    session.context.push(CANDLES[2:3])
    await session.context.caught_up()
    await settle(session)
    session.hub.close()
    events = [item.event async for batch in subscription.batches() for item in batch]
    ready = [event.version for event in events if isinstance(event, FlashReady)]
    assert ready[0] == 1
    assert ready[-1] == 3
    assert ready == sorted(set(ready))


async def test_under_a_steady_stream_answers_keep_coming_each_true_for_its_version(manager):
    engine, n_rows, steps_a_row = manager._engine, 24, 3
    flash = (FlashSpec("up?", 6), FlashSpec("why?", 6), FlashSpec("which?", 6, ("on", "in")))
    session = await manager.create(SessionSpec("be brief", flash=flash))
    subscription = session.hub.subscribe()
    for index in range(n_rows):
        session.context.push([CANDLES[index % len(CANDLES)]])
        n_steps = engine.stats().steps
        while engine.stats().steps < n_steps + steps_a_row and not (session._caught_up and session.flash.task is None):
            await asyncio.sleep(0)
    await settle(session)
    session.hub.close()
    events = [item.event async for batch in subscription.batches() for item in batch]
    heard = [event for event in events if isinstance(event, FlashReady)]
    for query_id, query in session.board.queries.items():
        answers = [event for event in heard if event.query_id == query_id]
        versions = [event.version for event in answers]
        assert versions == sorted(set(versions))
        assert versions[-1] == session.version
        assert len(versions) >= n_rows // 6  # an evaluation takes about 6 steps, and so many rows come in 18
        for event in answers[:: max(1, len(answers) // 3)]:
            entries = [entry.token_ids for entry in session.context.tape if entry.version <= event.version]
            sequence = engine.open()
            sequence.append([int(token_id) for ids in entries for token_id in ids] + query.token_ids)
            alone = [token async for token in sequence.generate(SamplingParams(max_tokens=6))]
            sequence.close()
            assert event.confidence == alone[0].logit_gap
            if query.tree is None:
                assert event.value == "".join(token.text for token in alone).strip()
            else:
                assert event.value == max(event.probabilities, key=event.probabilities.get)


async def test_choices_are_checked_and_weighed(manager):
    session = await manager.create(SessionSpec("be brief", flash=(FlashSpec("up?", 4, ("yes", "no")),)))
    session.context.push(CANDLES)
    await settle(session)
    answer = session.board.queries[1].answer
    assert answer.value in ("yes", "no")
    assert sum(answer.probabilities.values()) == pytest.approx(1)
    for choices, param in [(("yes",), "choices"), (("yes", "yes!"), "choices[1]"), (("yes", " no"), "choices[1]")]:
        with pytest.raises(InvalidRequest) as caught:
            await session.flash.add("down?", 4, choices)
        assert caught.value.param == param
    assert len(session.board.queries) == 1
    with pytest.raises(InvalidRequest) as caught:
        await manager.create(SessionSpec(flash=(FlashSpec("up?", 4), FlashSpec("down?", 4, ("yes", "yes!")))))
    assert caught.value.param == "flash[1].choices[1]"


async def test_raw_text_may_have_white_space_before_a_choice(manager):
    raw = await manager.create(SessionSpec(flash=(FlashSpec("up?", 4, ("yes", "no")),)))
    templated = await manager.create(SessionSpec("be brief", flash=(FlashSpec("up?", 4, ("yes", "no")),)))
    second = await manager.create(SessionSpec(flash=(FlashSpec("up?", 4, ("yes", "no")),), wire=2))
    n_nodes = [session.board.queries[1].tree.n_nodes for session in (raw, templated, second)]
    assert n_nodes[0] > 2 * n_nodes[1] == 2 * n_nodes[2]


async def test_the_answer_of_an_equal_flash_query_is_served(manager):
    session = await manager.create(SessionSpec("be brief", flash=(FlashSpec("up?", 4),)))
    session.context.push(CANDLES)
    await settle(session)
    flash = session.board.queries[1]
    for options in ({}, {"fast_answer": True}):
        answer, _ = await ask(session, " up? ", SamplingParams(max_tokens=8), **options)
        assert answer.cached is flash
    assert manager.totals.flash_hits == 2
    assert (await ask(session, "up?", fast_answer=True))[0].cached is flash
    for question, params, options in [
        ("up?", SamplingParams(max_tokens=8), {"fast_answer": False}),
        ("up?", SamplingParams(max_tokens=8, temperature=0.5), {}),
        ("up?", SamplingParams(max_tokens=8, stop=("x",)), {}),
        ("up?", SamplingParams(max_tokens=flash.answer.n_tokens - 1), {"fast_answer": True}),
        ("Up?", SamplingParams(max_tokens=8), {"fast_answer": True}),
    ]:
        answer, _ = await ask(session, question, params, **options)
        assert answer.cached is None, (question, params, options)


async def test_a_removed_query_says_nothing_more(manager):
    session = await manager.create(SessionSpec("be brief", flash=(FlashSpec("up?", 64),)))
    subscription = session.hub.subscribe()
    session.context.push(CANDLES)
    await session.context.caught_up()
    session.board.remove(1)
    await settle(session)
    session.hub.close()
    events = [item.event async for batch in subscription.batches() for item in batch]
    assert not [event for event in events if isinstance(event, FlashReady)]


async def test_leaving_an_answer_frees_the_session_and_the_engine(manager):
    session = await manager.create(SessionSpec("be brief"))
    n_tokens, n_sequences = session.n_tokens, manager._engine.stats().n_sequences
    answer = await session.ask("up?", SamplingParams(ignore_eos=True))
    stream = answer.turn.events()
    await anext(stream)
    await stream.aclose()
    answer.close()
    assert (session.busy, session.n_tokens, session.turns) == (False, n_tokens, 0)
    assert manager._engine.stats().n_sequences == n_sequences


async def test_closing_gives_every_sequence_back_and_ends_the_listeners(manager):
    n_before = manager._engine.stats().n_sequences
    session = await manager.create(SessionSpec("be brief", flash=(FlashSpec("up?", 256), FlashSpec("down?", 256))))
    subscription = session.hub.subscribe()
    await ask(session, "up?")
    session.context.push(CANDLES)
    await session.context.caught_up()
    session.context.push(CANDLES)
    await asyncio.sleep(0)
    await manager.delete(session.id)
    heard = [item.event async for batch in subscription.batches() for item in batch]
    assert subscription.ended
    assert isinstance(heard[0], DataUpdated)
    assert manager._engine.stats().n_sequences == n_before
    with pytest.raises(KvtapeError):
        await session.context.caught_up()


async def test_a_session_shows_what_the_model_sees(manager):
    session = await manager.create(SessionSpec("be brief", window=300))
    for _ in range(6):
        session.push(CANDLES)
        await session.context.caught_up()
    begin, end = session.context.sequence.hole
    assert begin < end
    tokenizer = manager._engine.model.tokenizer
    shown = tokenizer.decode(session.token_ids().tolist(), special=True)
    assert shown.startswith("<|im_start|>system\nbe brief")
    assert len(session.token_ids()) == session.n_tokens - (end - begin)
