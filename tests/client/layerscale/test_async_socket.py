"""A session's WebSocket over connections that break, in an event loop."""

from __future__ import annotations

import asyncio
import random

import pytest

from kvtape.client import AsyncLayerScale, Backoff, Disconnected, LayerScale, StatusError, Unacknowledged
from kvtape.errors import InvalidRequest, NotFound
from kvtape.protocols.layerscale import models
from tests.client.cutting import cutting
from tests.client.layerscale.test_socket import (
    Scripted,
    check_rows,
    event_row,
    hang_up,
    late,
    silent,
)
from tests.serving import CANDLES

SOON = Backoff(first=0.001, most=0.02, tries=50)
N_CUTS = 200


@pytest.fixture
def blocking(url):
    with LayerScale(url, api_key="key") as client:
        yield client


@pytest.fixture
async def client(url):
    async with AsyncLayerScale(url, api_key="key", reconnect=SOON) as client:
        yield client


async def test_pushes_are_acknowledged_and_events_come(client):
    made = await client.sessions.create(flash=["up?"])
    async with client.sessions.ws(made.id) as ws:
        assert isinstance(await anext(ws), models.Connected)
        ack = await ws.push(CANDLES)
        assert (ack.pushed, ack.dropped) == (5, 0)
        await ws.ping()
        assert (await anext(ws)).data_version == 1
        assert (await anext(ws)).query == "up?"
        with pytest.raises(TimeoutError):
            await ws.receive(timeout=0.05)
        assert ws.last_event_id == 2
        with pytest.raises(InvalidRequest, match="data"):
            await ws.push([{"o": 1}])
        await client.sessions.delete(made.id)
        assert [event async for event in ws] == []
        with pytest.raises(NotFound):
            await ws.push(CANDLES)


async def test_a_refused_handshake_is_the_error_it_stands_for(client, url):
    with pytest.raises(NotFound):
        await client.sessions.ws("sess_none").__aenter__()
    async with AsyncLayerScale(url, api_key="wrong") as stranger:
        with pytest.raises(StatusError):
            await stranger.sessions.ws("sess_none").__aenter__()


async def push_all(ws, rows):
    known, unknown = [], []
    for row in rows:
        try:
            assert (await ws.push([row])).pushed == 1
            known.append(row["src"])
        except Unacknowledged as error:
            unknown.append(error.data[0]["src"])
    return known, unknown


async def test_no_push_is_lost_unsaid_or_sent_twice_and_no_event_either(blocking, url):
    rng = random.Random(5)
    n_cuts = n_known = n_unknown = 0
    while n_cuts < N_CUTS:
        made = blocking.sessions.create(type="event")
        parts = [[event_row(n) for n in range(20 * k, 20 * k + 20)] for k in range(3)]
        versions = []
        with cutting(url, lambda: rng.randrange(500, 2500)) as (proxied, cutter):
            async with (
                AsyncLayerScale(proxied, api_key="key", reconnect=SOON) as reader,
                reader.sessions.ws(made.id) as ws,
            ):
                cutter.is_cutting = True

                async def read(ws=ws, versions=versions):
                    async for event in ws:
                        versions.append(event.data_version)

                reading = asyncio.ensure_future(read())
                results = await asyncio.gather(*(push_all(ws, part) for part in parts))
                known = [name for known, _ in results for name in known]
                unknown = [name for _, unknown in results for name in unknown]
                assert len(known) + len(unknown) == 60
                check_rows(blocking, made.id, known, unknown)
                last = blocking.sessions.get(made.id).data_version
                while not versions or versions[-1] < last:
                    await asyncio.sleep(0.005)
                await ws.aclose()  # ends the one who reads
                await asyncio.wait_for(reading, 20)
                n_cuts += cutter.n_cuts
        assert versions == list(range(last + 1))
        n_known, n_unknown = n_known + len(known), n_unknown + len(unknown)
        blocking.sessions.delete(made.id)
    assert n_known > 0
    assert n_unknown > 0


async def test_an_answer_that_does_not_come_in_time():
    with Scripted(silent) as (url, _):
        async with AsyncLayerScale(url) as client, client.sessions.ws("s") as ws:
            with pytest.raises(Unacknowledged, match="no answer for") as caught:
                await ws.push(["a"], timeout=0.05)
            assert caught.value.data == ["a"]
            with pytest.raises(Disconnected, match="ping"):
                await ws.ping(timeout=0.05)


async def test_a_late_answer_is_nobody_elses():
    with Scripted(late) as (url, _):
        async with AsyncLayerScale(url) as client, client.sessions.ws("s") as ws:
            with pytest.raises(Unacknowledged):
                await ws.push("a", timeout=0.05)
            assert (await ws.push("b")).pushed == 2


async def test_a_cancelled_push_leaves_the_others_their_answers():
    with Scripted(late) as (url, _):
        async with AsyncLayerScale(url) as client, client.sessions.ws("s") as ws:
            first = asyncio.ensure_future(ws.push("a"))
            await asyncio.sleep(0.05)
            second = asyncio.ensure_future(ws.push("b"))  # waits while the first one reads
            await asyncio.sleep(0)
            first.cancel()
            assert (await second).pushed == 2
            with pytest.raises(asyncio.CancelledError):
                await first


async def test_closing_ends_who_waits_for_a_connection():
    patient = Backoff(first=30, most=30, tries=2)
    with Scripted(hang_up) as (url, _):
        async with AsyncLayerScale(url, reconnect=patient) as client, client.sessions.ws("s") as ws:
            with pytest.raises(Unacknowledged):
                await ws.push("a")
            assert isinstance(await anext(ws), models.Connected)
            waiting = asyncio.ensure_future(ws.receive())
            with pytest.raises(TimeoutError):
                await ws.push("a", timeout=0.05)
            await ws.aclose()
            assert await asyncio.wait_for(waiting, 20) is None


async def test_cancellation_leaves_nothing_open(blocking, url):
    made = blocking.sessions.create()
    with cutting(url, lambda: 1 << 30) as (proxied, _):  # which says who has left a connection open

        async def work():
            async with AsyncLayerScale(proxied, api_key="key") as client, client.sessions.ws(made.id) as ws:
                async for _ in ws:
                    connected.set()

        connected = asyncio.Event()
        task = asyncio.ensure_future(work())
        await connected.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    blocking.sessions.delete(made.id)
