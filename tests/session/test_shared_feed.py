"""Feed handlers in other processes, alive and killed."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from uuid import uuid4

import numpy as np
import pytest

from kvtape import SharedRing
from kvtape.engine import AsyncEngine
from kvtape.errors import Conflict, InvalidRequest, NotFound
from kvtape.session import intake
from kvtape.session.manager import SessionManager
from kvtape.session.row_types import MISSING, OHLCV
from kvtape.session.spec import SessionSpec, SharedRingSpec

WRITER = """
import sys, time
import numpy as np
from kvtape import SharedRing
with SharedRing.open(sys.argv[1]) as ring:
    rows = np.zeros(int(sys.argv[2]), ring.dtype)
    for n in range(len(rows)):
        rows[n]["timestamp"], rows[n]["c"], rows[n]["sym"] = 60 * n, 100 + n % 7, n % 2
    at = 0
    while at < len(rows):
        at += ring.push(rows[at : at + min(ring.room, 64)]) if ring.room else 0
        time.sleep(0.001)
print("done", flush=True)
"""


@pytest.fixture
def name():
    return f"test-{uuid4().hex[:12]}"


@pytest.fixture
async def manager(tiny_engine):
    made = SessionManager(AsyncEngine.wrap(tiny_engine), max_sessions=8)
    yield made
    await made.aclose()


def spec(name, **options):
    ring = SharedRingSpec(name, {"sym": ["AAPL", "MSFT"]}, capacity=256)
    return SessionSpec("be brief", shared_ring=ring, window=800, **options)


def candles(n):
    rows = np.zeros(n, OHLCV)
    rows["timestamp"], rows["c"] = 60 * np.arange(n), 100
    return rows


async def until(condition):
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.002)


async def test_rows_of_another_process_arrive_in_order(manager, name):
    session = await manager.create(spec(name))
    writer = subprocess.Popen([sys.executable, "-c", WRITER, name, "600"], stdout=subprocess.PIPE)
    await until(lambda: session.context.counters.n_processed == 600)
    assert writer.communicate(timeout=20)[0] == b"done\n"
    assert session.context.counters.total_dropped == 0
    assert session.context.stats.summary()["count"] == 600
    times = np.concatenate([entry.rows["timestamp"] for entry in session.context.tape if entry.rows is not None])
    times = times[-session.context.n_rows :]
    assert times.tolist() == list(range(60 * (600 - len(times)), 60 * 600, 60))


async def test_a_killed_writer_is_replaced(manager, name):
    session = await manager.create(spec(name))
    for _ in range(3):
        before = session.context.counters.total_enqueued
        writer = subprocess.Popen([sys.executable, "-c", WRITER, name, "1000000"])
        await until(lambda n=before: session.context.counters.total_enqueued > n + 100)
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
        await until(lambda: not session.shared_feed.ring.has_writer)
    await session.context.caught_up()
    assert session.context.fault is None
    assert session.context.counters.total_dropped == 0


async def test_rows_that_cannot_be_are_dropped_and_counted(manager, name):
    session = await manager.create(spec(name))
    rows = candles(6)
    rows["c"][2] = np.nan
    rows["sym"][3] = 7
    rows["timestamp"][5] = MISSING
    with SharedRing.open(name) as writer:
        writer.push(rows)
    await until(lambda: session.context.counters.n_processed == 4)
    assert session.context.counters.total_dropped == 2


async def test_rows_wait_in_the_ring_while_the_session_has_no_room(manager, name, monkeypatch):
    monkeypatch.setattr(intake, "RING_CAPACITY", 128)
    session = await manager.create(spec(name))
    context = session.context
    async with context.change():
        context.push(candles(128))
        with SharedRing.open(name) as writer:
            assert writer.push(candles(100)) == 100
            await asyncio.sleep(0.05)
            assert context.counters.total_enqueued == 128
            assert writer.push(candles(1000)) == 156  # and then the writer is refused
    await until(lambda: context.counters.n_processed == 128 + 256)
    assert context.counters.total_dropped == 0


async def test_the_ring_goes_with_the_session(manager, name):
    session = await manager.create(spec(name))
    with pytest.raises(Conflict):
        await manager.create(spec(name))
    with SharedRing.open(name) as writer:
        await manager.delete(session.id)
        with pytest.raises(NotFound):
            writer.push(candles(1))
    await manager.delete((await manager.create(spec(name))).id)


@pytest.mark.parametrize(
    ("made", "param"),
    [
        (SessionSpec(type="text", shared_ring=SharedRingSpec("x")), "shared_ring"),
        (SessionSpec(shared_ring=SharedRingSpec("a/b")), "shared_ring.name"),
        (SessionSpec(shared_ring=SharedRingSpec("x", capacity=3)), "shared_ring.capacity"),
        (SessionSpec(shared_ring=SharedRingSpec("x", {"sid": ["a"]})), "names.sid"),
    ],
)
async def test_what_cannot_be_is_named(manager, made, param):
    with pytest.raises(InvalidRequest) as caught:
        await manager.create(made)
    assert caught.value.param == param
    assert len(manager) == 0


async def test_a_session_that_somebody_feeds_is_not_idle(manager, name):
    session = await manager.create(spec(name))
    assert session.idle
    with SharedRing.open(name):
        assert not session.idle
    assert session.idle
