"""Life and death of sessions, and the one ingest task."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from kvtape.engine import AsyncEngine
from kvtape.errors import Conflict, ContextOverflow, InvalidRequest, NotFound
from kvtape.session.manager import SessionManager
from kvtape.session.spec import FlashSpec, SessionSpec
from kvtape.types import SamplingParams
from tests.serving import CANDLES


class Clock:
    def __init__(self):
        self.time = 1000.0

    def __call__(self):
        return self.time


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
async def manager(tiny_engine, clock):
    made = SessionManager(AsyncEngine.wrap(tiny_engine), max_sessions=8, idle_seconds=0.04, now=clock)
    yield made
    await made.aclose()


async def test_sessions_are_found_by_their_id_and_listed_by_age(manager, clock):
    first = await manager.create(SessionSpec())
    clock.time += 0.01  # less than makes a session expire, however long the second takes
    second = await manager.create(SessionSpec())
    clock.time -= 0.01
    assert manager.get(first.id) is first
    assert manager.live() == [first, second]
    assert first.id.startswith("sess_")
    await manager.delete(first.id)
    with pytest.raises(NotFound):
        manager.get(first.id)
    with pytest.raises(NotFound):
        await manager.delete(first.id)


@pytest.mark.parametrize("session_id", ["", "a" * 129, "a/b", "ä", "a b", "a\n"])
async def test_malformed_ids_are_invalid(manager, session_id):
    with pytest.raises(InvalidRequest):
        manager.get(session_id)


async def test_an_id_may_be_chosen_once(manager):
    results = await asyncio.gather(
        *(manager.create(SessionSpec(id="desk-1")) for _ in range(3)), return_exceptions=True
    )
    assert sum(isinstance(result, Conflict) for result in results) == 2
    assert [session.id for session in manager.live()] == ["desk-1"]
    await manager.delete("desk-1")
    assert (await manager.create(SessionSpec(id="desk-1"))).id == "desk-1"


async def test_a_chosen_id_must_be_one(manager):
    with pytest.raises(InvalidRequest) as caught:
        await manager.create(SessionSpec(id="a/b"))
    assert caught.value.param == "id"


async def test_there_are_only_so_many(manager):
    for _ in range(7):
        await manager.create(SessionSpec())
    results = await asyncio.gather(*(manager.create(SessionSpec()) for _ in range(3)), return_exceptions=True)
    assert sum(isinstance(result, Conflict) for result in results) == 2
    assert len(manager) == 8


async def test_a_failed_creation_leaves_nothing_behind(manager):
    n_before = manager._engine.stats().n_sequences
    with pytest.raises(ContextOverflow):
        await manager.create(SessionSpec("x" * 5000))
    with pytest.raises(Conflict):
        await manager.create(SessionSpec(flash=(FlashSpec("same", 4), FlashSpec("same", 4))))
    assert len(manager) == 0
    assert manager._engine.stats().n_sequences == n_before


async def test_a_session_that_answers_cannot_be_deleted(manager):
    session = await manager.create(SessionSpec("be brief"))
    answer = await session.ask("up?", SamplingParams(max_tokens=1))
    with pytest.raises(Conflict):
        await manager.delete(session.id)
    answer.close()
    await manager.delete(session.id)


async def test_rows_of_many_sessions_are_ingested_side_by_side(manager):
    sessions = [await manager.create(SessionSpec("be brief")) for _ in range(6)]
    for candle in CANDLES:
        for session in sessions:
            session.context.push([candle])
        await asyncio.sleep(0)
    for session in sessions:
        await session.context.caught_up()
        assert session.context.tape.n_rows == 5
        assert 1 <= session.version <= 5
        assert session.token_ids().tolist() == session.context.tape.token_ids().tolist()
    assert len({tuple(session.token_ids().tolist()) for session in sessions}) == 1


async def test_every_push_is_followed_by_a_version(manager):
    session = await manager.create(SessionSpec())
    for index in range(30):
        ack = session.context.push([CANDLES[index % 5]])
        if index % 3:
            await asyncio.sleep(0.001)
        await session.context.caught_up()
        assert session.version > ack.version
        assert session.context.counters.n_processed >= ack.total_enqueued


@pytest.mark.parametrize("where", ["rendering", "appending"])
async def test_one_sessions_fault_stops_no_other(manager, monkeypatch, where):
    broken, fine = await manager.create(SessionSpec()), await manager.create(SessionSpec())
    owner, name = (broken.context._encoder, "encode") if where == "rendering" else (broken.context.sequence, "append")
    monkeypatch.setattr(owner, name, lambda *a, **k: 1 / 0)
    broken.context.push(CANDLES)
    fine.context.push(CANDLES)
    await fine.context.caught_up()
    assert isinstance(broken.context.fault, ZeroDivisionError)
    assert fine.version == 1


async def test_idle_sessions_go_and_used_ones_stay(manager, clock):
    idle, used, heard = [await manager.create(SessionSpec()) for _ in range(3)]
    heard.hub.subscribe()
    clock.time += 1
    used.touch()
    async with asyncio.timeout(20):
        while len(manager) > 2:
            await asyncio.sleep(0.005)
    assert manager.live() == sorted([used, heard], key=lambda session: session.id)
    assert idle.id not in {session.id for session in manager.live()}


async def test_closing_twice_is_fine(manager):
    await manager.create(SessionSpec())
    await manager.aclose()
    await manager.aclose()
    assert len(manager) == 0


async def test_traffic_at_random_leaves_every_context_true_and_nothing_behind(tiny_engine, rng):
    engine = AsyncEngine.wrap(tiny_engine)
    n_before = engine.stats().n_sequences
    manager = SessionManager(engine)

    async def ask(session):
        params = SamplingParams(max_tokens=int(rng.integers(1, 12)), ignore_eos=True)
        answer = await session.ask("up?" if rng.random() < 0.7 else None, params)
        stop_at = int(rng.integers(0, 12))  # some are left early
        try:
            async with aclosing(answer.turn.events()) as events:
                async for _ in events:
                    stop_at -= 1
                    if stop_at == 0:
                        break
        finally:
            answer.close()

    async def live(n_steps):
        session = await manager.create(SessionSpec("be brief", flash=(FlashSpec("down?", 3), FlashSpec("flat?", 2))))
        for _ in range(n_steps):
            match rng.integers(5):
                case 0 | 1:
                    session.context.push([CANDLES[i] for i in rng.integers(0, 5, size=rng.integers(1, 4))])
                case 2:
                    await session.append("note ")
                case 3:
                    await ask(session)
                case 4:
                    await asyncio.sleep(float(rng.random()) * 0.005)
        await session.context.caught_up()
        assert session.context.sequence.token_ids().tolist() == session.context.tape.token_ids().tolist()
        assert session.context.tape.n_rows == session.context.counters.n_processed
        if rng.random() < 0.5:
            await manager.delete(session.id)

    async with asyncio.TaskGroup() as group:
        for _ in range(12):
            group.create_task(live(20))
    await manager.aclose()
    assert engine.stats().n_sequences == n_before
    tiny_engine.core.native.check_integrity()
