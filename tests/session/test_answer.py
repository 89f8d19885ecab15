"""Answers of sessions that have not enough memory for all."""

from __future__ import annotations

import asyncio

import pytest

from kvtape.engine import AsyncEngine
from kvtape.errors import SequenceLost
from kvtape.session.manager import SessionManager
from kvtape.session.spec import FlashSpec, SessionSpec
from kvtape.types import FinishReason, SamplingParams, WorkClass
from tests.serving import CANDLES

PARAMS = SamplingParams(max_tokens=6, ignore_eos=True)


@pytest.fixture
async def manager(make_tiny_model):
    async with AsyncEngine(make_tiny_model(n_ctx=1024), n_ctx=1024, kv_memory="1M", n_threads=1) as engine:
        made = SessionManager(engine, max_sessions=64)
        yield made
        await made.aclose()
        engine.core.native.check_integrity()


async def test_questions_and_flash_queries_go_on_where_kv_is_taken_away(manager):
    spec = SessionSpec("be brief", window=500, flash=(FlashSpec("up?", 3), FlashSpec("down?", 3)))
    sessions = [await manager.create(spec) for _ in range(12)]

    async def take_memory():
        while True:
            sequence = manager._engine.open()
            sequence.append([7] * 900, work=WorkClass.INTERACTIVE)
            try:
                await sequence.resident()
            finally:
                sequence.close()

    def is_busy(session):
        return session.board.stale(session.version) or session.flash.task or session.context.changing

    async def live(session):
        for _ in range(8):
            session.push(CANDLES * 3)
            answer = await session.ask("What now?", PARAMS)
            try:
                events = await answer.collect()
                assert len(events) == PARAMS.max_tokens
                assert events[-1].finish_reason is FinishReason.LENGTH
                assert answer.version > 0
            finally:
                answer.close()

    async with asyncio.timeout(60):
        taking = asyncio.create_task(take_memory())
        await asyncio.gather(*map(live, sessions))
        taking.cancel()
        while any(map(is_busy, sessions)):
            await asyncio.sleep(0.01)
    assert manager._engine.stats().sequences_lost > 20
    for session in sessions:
        assert session.context.fault is None
        assert session.context.tape.n_rows == 8 * 3 * len(CANDLES)
        assert all(query.answer.version == session.version for query in session.board.queries.values())


async def test_an_answer_that_has_begun_is_not_begun_again(manager, monkeypatch):
    session = await manager.create(SessionSpec("be brief"))
    answer = await session.ask("What now?", PARAMS)

    async def breaks():
        async for event in type(answer.turn).events(answer.turn):
            yield event
            raise SequenceLost("its KV is gone")

    monkeypatch.setattr(answer.turn, "events", breaks)
    with pytest.raises(SequenceLost):
        await answer.collect()
    answer.close()


async def test_an_answer_that_has_not_begun_is(manager, monkeypatch):
    session = await manager.create(SessionSpec("be brief"))
    answer = await session.ask("What now?", PARAMS)
    first = answer.turn

    async def breaks():
        raise SequenceLost("its KV is gone")
        yield

    monkeypatch.setattr(first, "events", breaks)
    assert len(await answer.collect()) == PARAMS.max_tokens
    assert answer.turn is not first
    answer.close()
