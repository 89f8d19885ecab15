"""The events of a session over connections that break."""

from __future__ import annotations

import asyncio
import random
import threading
from contextlib import ExitStack, contextmanager

import pytest

from kvtape.client import AsyncLayerScale, Backoff, LayerScale
from kvtape.client.errors import Disconnected, StatusError
from kvtape.client.layerscale import events as events_module
from kvtape.errors import NotFound
from kvtape.protocols.layerscale import models
from tests.client.cutting import cutting
from tests.client.test_transport import answering, frames, plain
from tests.serving import CANDLES

SOON = Backoff(first=0.001, most=0.02, tries=50)
N_CUTS = 200


@pytest.fixture
def client(url):
    with LayerScale(url, api_key="key") as client:
        yield client


class Record:
    """Events as they came; one that is missing, or there twice, fails at once."""

    def __init__(self):
        self.n_updates = self.n_answers = self.version = self.answered = 0

    def take(self, event):
        match event:
            case models.Connected():
                assert self.n_updates == 0  # until then an opening may have broken off; after that, all is mended
                self.version, self.answered = event.data_version, 0
            case models.DataUpdated():
                assert event.data_version == self.version + 1
                self.version = event.data_version
                self.n_updates += 1
            case models.FlashReady():
                assert self.answered < event.data_version <= self.version
                self.answered = event.data_version
                self.n_answers += 1


@contextmanager
def feeding(client, session_id, record):
    """Make version after version, never far ahead of who reads, each a letter long so that many fit."""

    def run():
        n_made = 0
        while not is_over.wait(0.001):
            if n_made < record.version + 3:
                client.sessions.append(session_id, "a")
                n_made += 1

    is_over = threading.Event()
    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def test_nothing_is_lost_or_doubled_over_many_cuts(client, url):
    rng = random.Random(1)
    made = client.sessions.create(prompt="the", flash=["up?"])
    record = Record()
    with (
        cutting(url, lambda: rng.randrange(100, 2500)) as (proxied, cutter),
        LayerScale(proxied, api_key="key", reconnect=SOON) as reader,
        feeding(client, made.id, record),
        reader.sessions.events(made.id) as events,
    ):
        for event in events:
            cutter.is_cutting = True
            record.take(event)
            if cutter.n_cuts >= N_CUTS:
                break
    assert record.n_updates > 50
    assert record.n_answers > 50
    client.sessions.delete(made.id)


async def test_nothing_is_lost_or_doubled_over_many_cuts_in_a_loop(client, url):
    rng = random.Random(2)
    made = client.sessions.create(prompt="the", flash=["up?"])
    record = Record()
    with cutting(url, lambda: rng.randrange(100, 2500)) as (proxied, cutter), feeding(client, made.id, record):
        async with (
            AsyncLayerScale(proxied, api_key="key", reconnect=SOON) as reader,
            reader.sessions.events(made.id) as events,
        ):
            async for event in events:
                cutter.is_cutting = True
                record.take(event)
                if cutter.n_cuts >= N_CUTS:
                    break
    assert record.n_updates > 50
    assert record.n_answers > 50
    client.sessions.delete(made.id)


def test_another_reader_goes_on_where_one_has_left(client):
    made = client.sessions.create()
    with client.sessions.events(made.id) as events:
        assert isinstance(next(events), models.Connected)
        client.sessions.push(made.id, CANDLES, wait=True)
        assert next(events).data_version == 1
        place = events.last_event_id
    client.sessions.push(made.id, CANDLES, wait=True)
    with client.sessions.events(made.id, last_event_id=place) as events:
        assert next(events).data_version == 2
    with client.sessions.events(made.id, last_event_id=9999) as events:  # nobody knows that one
        assert next(events).data_version == 2
        assert events.last_event_id == 2
    client.sessions.delete(made.id)


def test_the_end_of_the_session_is_the_end(client, url):
    made = client.sessions.create()
    events = client.sessions.events(made.id)
    assert isinstance(next(events), models.Connected)
    client.sessions.delete(made.id)
    assert list(events) == []
    with pytest.raises(NotFound):
        next(client.sessions.events(made.id))
    with LayerScale(url, api_key="wrong") as stranger, pytest.raises(StatusError):
        next(stranger.sessions.events(made.id))


async def test_the_end_of_the_session_is_the_end_in_a_loop_too(url):
    async with AsyncLayerScale(url, api_key="key") as client:
        made = await client.sessions.create()
        async with client.sessions.events(made.id) as events:
            assert isinstance(await anext(events), models.Connected)
            await client.sessions.delete(made.id)
            assert [event async for event in events] == []
        with pytest.raises(NotFound):
            await anext(client.sessions.events(made.id))


CONNECTED = b'event: connected\ndata: {"session_id":"s","data_version":4,"flash_queries":1,"streaming":true}\n%s\n'
UPDATED = (
    b'event: data_updated\ndata: {"type":"data_updated","data_version":%d,"tokens":9,"pending":0,"data_count":1,'
    b'"pos_next":9,"total_dropped":0}\nid: %d\n\n'
)
READY = (
    b'event: flash_ready\ndata: {"id":1,"query":"up?","value":"yes","data_version":4,"confidence":1.5,'
    b'"evaluated_at":1733000000}\n%s\n'
)
GONE = plain(404, b'{"error":{"message":"gone"}}')


def read(url):
    with LayerScale(url, reconnect=SOON) as client, client.sessions.events("s") as events:
        return [getattr(event, "value", event.data_version) for event in events]


def test_an_opening_that_breaks_off_is_begun_anew():
    half = frames(CONNECTED % b"" + READY[:60])
    whole = frames(CONNECTED % b"" + READY % b"id: 7\n" + UPDATED % (5, 8))
    rest = frames(CONNECTED % b"id: 8\n" + b"event: news\ndata: {}\n\n" + UPDATED % (6, 9))
    with answering(half, whole, rest, GONE) as (url, requests):
        assert read(url) == [4, 4, "yes", 5, 6]
    asked = [b"last-event-id: 8" in request.lower() for request in requests]
    assert asked == [False, False, True, False]
    assert b"last-event-id: 9" in requests[3].lower()


def test_what_cannot_be_gone_on_with_is_told_by_another_connected():
    first = frames(CONNECTED % b"id: 7\n" + UPDATED % (5, 8))
    later = frames(CONNECTED % b"id: 5000\n" + UPDATED % (6, 5001))
    with answering(first, later, GONE) as (url, _):
        assert read(url) == [4, 5, 4, 6]


def test_a_server_without_numbers_begins_anew_each_time():
    unnumbered = frames(CONNECTED % b"" + READY % b"")
    with answering(unnumbered, plain(503, b"{}"), plain(502, b""), unnumbered, GONE) as (url, _):
        assert read(url) == [4, "yes", 4, "yes"]


def test_a_server_that_stays_away_is_an_error():
    with ExitStack() as stack:
        with answering(frames(CONNECTED % b"id: 7\n")) as (url, _):
            events = stack.enter_context(LayerScale(url, reconnect=SOON)).sessions.events("s")
            assert isinstance(next(events), models.Connected)
        with pytest.raises(Disconnected):
            next(events)


def test_silence_is_a_broken_connection(client, url, monkeypatch):
    monkeypatch.setattr(events_module, "SILENCE_SECONDS", 0.2)
    made = client.sessions.create()
    with LayerScale(url, api_key="key", reconnect=SOON) as reader, reader.sessions.events(made.id) as events:
        assert isinstance(next(events), models.Connected)
        later = threading.Timer(0.7, client.sessions.push, (made.id, CANDLES))
        later.start()
        assert isinstance(next(events), models.DataUpdated)
        later.join()
    client.sessions.delete(made.id)


async def test_cancellation_leaves_nothing_open(url, client):
    made = client.sessions.create()
    with cutting(url, lambda: 1 << 30) as (proxied, _):  # which says who has left a connection open
        async with AsyncLayerScale(proxied, api_key="key") as reader:
            events = reader.sessions.events(made.id)
            await anext(events)
            waiting = asyncio.ensure_future(anext(events))
            await asyncio.sleep(0.05)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            with pytest.raises(StopAsyncIteration):
                await anext(events)
    client.sessions.delete(made.id)
