"""The ready position: what it decides, and that it is there in time and never in the way."""

from __future__ import annotations

import asyncio

import pytest

from kvtape.engine import AsyncEngine
from kvtape.errors import ContextOverflow
from kvtape.session.manager import SessionManager
from kvtape.session.ready import Ready, _first_word
from kvtape.session.spec import FlashSpec, SessionSpec
from kvtape.types import SamplingParams, Thinking
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
        if answer.turn:
            await answer.turn.collect()
    finally:
        answer.close()
    return answer


async def settle(session):
    await session.context.caught_up()
    while task := session.flash.task or session.ready._task:
        await asyncio.wait({task})


@pytest.mark.parametrize(
    ("text", "candidates", "chosen"),
    [
        (" Up", ("Up", "Down"), "Up"),
        ("U", ("Up", "Down"), "Up"),
        ("\nDown", ("Up", " Down "), " Down "),
        ("Up", ("Up", "Up and down"), None),
        ("Upward", ("Up", "Down"), None),
        ("up", ("Up", "Down"), None),
        ("Up", ("Up", "Up"), "Up"),
        (" ", ("Up",), None),
        ("", ("Up",), None),
    ],
)
def test_a_first_token_decides_for_the_only_candidate_it_begins(text, candidates, chosen):
    assert Ready("q", 1, 7, text, 3.0).decides(candidates) == chosen


@pytest.mark.parametrize(
    ("text", "ended", "word"),
    [
        ("Up", False, ""), ("Up", True, "Up"), (" Up. It", False, "Up"), ("\n\n", True, ""), ("", True, ""),
        ("Up\n", False, "Up"), ("...", True, ""),
    ],
)  # fmt: skip
def test_a_word_has_an_end(text, ended, word):
    assert _first_word(text, ended) == word


async def test_the_last_question_is_begun_after_each_change(manager):
    session = await manager.create(SessionSpec("be brief", pre_decode=True, wire=2))
    session.context.push(CANDLES[:2])
    await settle(session)
    assert session.ready.current is None  # nobody has asked anything
    first = await ask(session, "up?")
    await settle(session)
    assert session.ready.current.version == 1
    session.context.push(CANDLES[2:])
    await settle(session)
    ready = session.ready.current
    assert (ready.question, ready.version) == ("up?", 2)
    answer = await session.ask("up?", SHORT)
    events = await answer.turn.collect()
    answer.close()
    assert (ready.token_id, ready.text, ready.gap) == (events[0].token_id, events[0].text, events[0].logit_gap)
    assert first.version == 1


async def test_without_pre_decode_nothing_is_begun(manager):
    session = await manager.create(SessionSpec("be brief", wire=2))
    session.context.push(CANDLES)
    await ask(session, "up?")
    await settle(session)
    assert session.ready.current is None
    assert (await ask(session, "up?", candidates=("a", "b"))).turn


async def test_a_candidate_is_served_on_every_condition_and_on_no_fewer(manager):
    session = await manager.create(SessionSpec("be brief", pre_decode=True, wire=2))
    session.context.push(CANDLES[:4])
    await ask(session, "up?")
    await settle(session)
    ready = session.ready.current
    begun = ready.text.strip()
    assert begun  # else the model of this test says nothing
    choices = (f"{begun}x", "y" + begun)

    answer = await ask(session, " up?\n", candidates=choices, gap_threshold=ready.gap)
    assert (answer.text, answer.speculative, answer.logit_gap) == (choices[0], True, ready.gap)
    assert (answer.turn, answer.cached, answer.version) == (None, None, session.version)
    assert manager.totals.ready_exits == 1
    assert session.n_tokens > session.context.settled_end  # the tail of the question that was generated stays

    for question, options in [
        ("up?", {"candidates": choices, "gap_threshold": ready.gap * 1.001}),
        ("up?", {"candidates": (choices[1],), "gap_threshold": 0.0}),
        ("up?", {"candidates": (begun + "x", begun + "y"), "gap_threshold": 0.0}),
        ("up?", {}),
    ]:
        assert (await ask(session, question, **options)).turn, (question, options)
    assert (await ask(session, "down?", candidates=choices, gap_threshold=0.0)).turn
    await settle(session)
    assert (await ask(session, "up?", candidates=choices, gap_threshold=0.0)).turn  # was not asked last
    await settle(session)
    assert not (await ask(session, "up?", candidates=choices, gap_threshold=0.0)).turn
    session.context.push(CANDLES[4:])
    assert (await ask(session, "up?", candidates=choices, gap_threshold=0.0)).turn  # there is a newer version
    assert manager.totals.ready_exits == 2


async def test_thinking_that_changes_the_prompt_is_never_served(manager, monkeypatch):
    session = await manager.create(SessionSpec("be brief", pre_decode=True, flash=(FlashSpec("up?", 4),), wire=2))
    session.context.push(CANDLES)
    await ask(session, "up?", fast_answer=False)
    await settle(session)
    begun, on = session.ready.current.text.strip(), Thinking(enabled=True)
    options = {"candidates": (f"{begun}x",), "gap_threshold": 0.0, "thinking": on}
    assert (await ask(session, "up?", fast_answer=True, **options)).cached  # this template knows no thinking
    assert (await ask(session, "up?", fast_answer=False, **options)).speculative
    encode = session._framing.encode_question

    def thinks(text, thinking=None):
        return encode(text if thinking is None else text + "!")

    monkeypatch.setattr(session._framing, "encode_question", thinks)
    assert (await ask(session, "up?", fast_answer=True, **options)).turn
    assert (await ask(session, "up?", fast_answer=False, **options)).turn
    assert session.ready._token_ids == encode("up?")  # nor is it what comes next
    assert (await ask(session, "up?", thinking=Thinking())).cached


async def test_gen_1_gets_the_first_word(manager):
    session = await manager.create(SessionSpec("be brief", pre_decode=True))
    session.context.push(CANDLES)
    await ask(session, "up?")
    await settle(session)
    ready = session.ready.current
    assert ready.word == "" or ready.word.startswith(ready.text.strip())
    session.ready.current = Ready("up?", session.version, 5, " Up", 2.5, "Up")
    answer = await ask(session, "up?", fast_answer=True)
    assert (answer.text, answer.speculative, answer.logit_gap) == ("Up", True, 2.5)
    assert (await ask(session, "up?", fast_answer=False)).turn
    session.ready.current = Ready("up?", session.version, 5, " Up", 1.9, "Up")
    assert (await ask(session, "up?", fast_answer=True)).turn


async def test_a_flash_answer_comes_first(manager):
    session = await manager.create(SessionSpec("be brief", pre_decode=True, flash=(FlashSpec("up?", 4),)))
    session.context.push(CANDLES)
    await settle(session)
    session.ready.current = Ready("up?", session.version, 5, " Up", 2.5, "Up")
    assert (await ask(session, "up?", fast_answer=True)).cached


async def test_a_question_stops_it_and_it_starts_again(manager):
    session = await manager.create(SessionSpec("be brief", pre_decode=True, wire=2))
    session.context.push(CANDLES[:2])
    await ask(session, "up?")
    await settle(session)
    session.context.push(CANDLES[2:])
    await session.context.caught_up()
    running = session.ready._task
    assert running is not None
    answer = await session.ask("down?", SHORT)
    assert session.ready._task is None
    await asyncio.wait({running})
    assert running.cancelled()
    session.ready.refresh()
    assert session.ready._task is None  # somebody has the foreground
    await answer.turn.collect()
    answer.close()
    await settle(session)
    assert (session.ready.current.question, session.ready.current.version) == ("down?", 2)


async def test_it_gives_way_to_a_question_that_is_still_being_encoded(manager, monkeypatch):
    session = await manager.create(SessionSpec("be brief", pre_decode=True, wire=2))
    await ask(session, "up?")
    await settle(session)
    encode, loop = session._encode_question, asyncio.get_running_loop()

    def encode_late(*arguments):
        session.ready._tried = None
        loop.call_soon_threadsafe(session.ready.refresh)
        return encode(*arguments)

    monkeypatch.setattr(session, "_encode_question", encode_late)
    answer = await session.ask("down?", SHORT)
    assert not session.ready.running
    answer.close()
    assert session.ready.running


async def test_a_question_that_is_refused_lets_it_go_on(manager):
    session = await manager.create(SessionSpec("be brief", pre_decode=True, context=200, wire=2))
    await ask(session, "up?")
    await settle(session)
    session.ready._tried = None
    with pytest.raises(ContextOverflow):
        await session.ask("x" * 300, SHORT)
    assert session.ready.running


async def test_it_waits_until_the_flash_queries_are_answered(manager):
    session = await manager.create(SessionSpec("be brief", pre_decode=True, flash=(FlashSpec("down?", 32),), wire=2))
    session.context.push(CANDLES[:2])
    await ask(session, "up?")
    await settle(session)
    session.context.push(CANDLES[2:])
    await session.context.caught_up()
    assert session.flash.task is not None
    assert session.ready._task is None
    await settle(session)
    assert session.board.queries[1].answer.version == session.ready.current.version == 2


async def test_a_question_that_no_longer_fits_is_tried_once(manager):
    session = await manager.create(SessionSpec("be brief", pre_decode=True, wire=2))
    await ask(session, "up?")
    await settle(session)
    session.context.push(CANDLES[:1])
    await settle(session)
    session.context.n_ctx = session.context.settled_end + 3
    session.context.version += 1
    session.ready.refresh()
    await settle(session)
    assert session.ready._tried == ("up?", session.version)
    assert session.ready.current.version < session.version


async def test_an_answer_is_tried_for_without_a_wait(manager):
    session = await manager.create(SessionSpec("be brief", flash=(FlashSpec("up?", 4),)))
    session.context.push(CANDLES[:1])
    assert session.try_answer("up?", SHORT) is None  # data is on its way
    await settle(session)
    hit = session.try_answer("up?", SHORT)
    assert hit.text == session.board.queries[1].answer.value
    hit.close()
    assert manager.totals.flash_hits == 1
    assert session.try_answer("up?", SHORT, thinking=Thinking(enabled=True)) is None  # may change the prompt
    assert session.try_answer("down?", SHORT) is session.try_answer(None, SHORT) is None
    assert not session.busy


async def test_a_hit_waits_for_nobody(manager):
    session = await manager.create(SessionSpec("be brief", flash=(FlashSpec("up?", 4),)))
    session.context.push(CANDLES)
    await settle(session)
    answer = await session.ask("down?", SHORT)
    assert session.busy
    hit = await session.ask("up?", SHORT)
    assert hit.cached
    hit.close()
    assert session.busy  # it is the other one's
    answer.close()
    assert not session.busy


async def test_closing_ends_it(manager):
    n_before = manager._engine.stats().n_sequences
    session = await manager.create(SessionSpec("be brief", pre_decode=True, wire=2))
    session.context.push(CANDLES[:2])
    await ask(session, "up?")
    session.context.push(CANDLES[2:])
    await session.context.caught_up()
    await manager.delete(session.id)
    await asyncio.sleep(0)
    assert not session.ready.running
    assert manager._engine.stats().n_sequences == n_before
