"""A session's WebSocket over connections that break, with threads."""

from __future__ import annotations

import random
import re
import threading
from collections import Counter
from contextlib import ExitStack, suppress

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import serve

from kvtape.client import Backoff, Disconnected, LayerScale, StatusError, Unacknowledged
from kvtape.errors import InvalidRequest, NotFound, Overloaded
from kvtape.protocols.layerscale import models
from tests.client.cutting import cutting
from tests.serving import CANDLES, ROWS, eventually

SOON = Backoff(first=0.001, most=0.02, tries=50)
N_CUTS = 200
CONNECTED = '{"type":"connected","data":{"session_id":"s","data_version":0,"flash_queries":0,"streaming":true},"id":0}'


@pytest.fixture
def client(url):
    with LayerScale(url, api_key="key", reconnect=SOON) as client:
        yield client


def event_row(n):
    """A row that can be told from all others."""
    return {"src": f"s{n}", "sev": 1, "cat": "c", "cnt": n}


def test_pushes_are_acknowledged_and_events_come(client):
    made = client.sessions.create(flash=["up?"])
    with client.sessions.ws(made.id) as ws:
        assert isinstance(next(ws), models.Connected)
        ack = ws.push(CANDLES)
        assert (ack.pushed, ack.dropped) == (5, 0)
        ws.ping()
        assert next(ws).data_version == 1
        assert next(ws).query == "up?"
        with pytest.raises(TimeoutError):
            ws.receive(timeout=0.05)
        assert ws.last_event_id == 2
        client.sessions.delete(made.id)
        assert list(ws) == []
        with pytest.raises(NotFound):
            ws.push(CANDLES)


def test_a_push_that_is_refused_leaves_the_connection_as_it_is(client):
    made = client.sessions.create(type="event")
    with client.sessions.ws(made.id) as ws:
        with pytest.raises(InvalidRequest, match="sev") as caught:
            ws.push([ROWS["event"][0], {"src": "x"}])
        assert caught.value.param == "data[1].sev"
        with pytest.raises(InvalidRequest, match="at most 16777216 bytes"):
            ws.push([{**ROWS["event"][0], "src": "x" * (16 << 20)}])
        assert ws.push(ROWS["event"]).pushed == 3
    client.sessions.delete(made.id)


def test_a_refused_handshake_is_the_error_it_stands_for(client, url):
    with pytest.raises(NotFound), client.sessions.ws("sess_none"):
        pass
    with LayerScale(url, api_key="wrong") as stranger, pytest.raises(StatusError) as caught:
        stranger.sessions.ws("sess_none").__enter__()
    assert caught.value.status == 401
    with pytest.raises(NotFound):
        client.sessions.ws("sess_none").receive()


def test_another_reader_goes_on_where_one_has_left(client):
    made = client.sessions.create()
    with client.sessions.ws(made.id) as ws:
        assert isinstance(next(ws), models.Connected)
        place = ws.last_event_id
    client.sessions.push(made.id, CANDLES, wait=True)
    with client.sessions.ws(made.id, last_event_id=place) as ws:
        assert next(ws).data_version == 1
    client.sessions.delete(made.id)


def push_all(ws, rows):
    """Push rows one by one; returns those that were acknowledged and those of which nobody knows."""
    known, unknown = [], []
    for row in rows:
        try:
            assert ws.push([row]).pushed == 1
            known.append(row["src"])
        except Unacknowledged as error:
            unknown.append(error.data[0]["src"])
    return known, unknown


def check_rows(client, session_id, known, unknown):
    """Each acknowledged row is there once, each other at most once."""
    status = client.sessions.status(session_id)
    ack = models.PushResult(*[0] * 4, status.statistics.total_enqueued, *[0] * 5)
    client.sessions.wait(session_id, ack)
    found = Counter(
        word for word in client.sessions.state(session_id).context_text.split() if re.fullmatch(r"s\d+", word)
    )
    assert set(found.values()) <= {1}
    assert set(known) <= set(found) <= {*known, *unknown}


def test_no_push_is_lost_unsaid_or_sent_twice_and_no_event_either(client, url):
    rng = random.Random(3)
    n_cuts = n_known = n_unknown = 0
    while n_cuts < N_CUTS:
        made = client.sessions.create(type="event")
        rows = [event_row(n) for n in range(60)]
        with (
            cutting(url, lambda: rng.randrange(500, 1500)) as (proxied, cutter),
            LayerScale(proxied, api_key="key", reconnect=SOON) as reader,
            reader.sessions.ws(made.id) as ws,
        ):
            cutter.is_cutting = True
            known, unknown = push_all(ws, rows)
            check_rows(client, made.id, known, unknown)
            last = client.sessions.get(made.id).data_version
            assert isinstance(next(ws), models.Connected)
            versions = []
            while not versions or versions[-1] < last:
                versions.append(next(ws).data_version)
            assert versions == list(range(1, last + 1))
            n_cuts += cutter.n_cuts
        n_known, n_unknown = n_known + len(known), n_unknown + len(unknown)
        client.sessions.delete(made.id)
    assert n_known > 0
    assert n_unknown > 0


def test_threads_share_a_socket(client, url):
    rng = random.Random(4)
    made = client.sessions.create(type="event")
    parts = [[event_row(n) for n in range(20 * k, 20 * k + 20)] for k in range(3)]
    results = []
    versions = []
    with (
        cutting(url, lambda: rng.randrange(500, 3000)) as (proxied, cutter),
        LayerScale(proxied, api_key="key", reconnect=SOON) as reader,
        reader.sessions.ws(made.id) as ws,
    ):
        cutter.is_cutting = True
        threads = [threading.Thread(target=lambda part=part: results.append(push_all(ws, part))) for part in parts]
        threads.append(threading.Thread(target=lambda: versions.extend(event.data_version for event in ws)))
        for thread in threads:
            thread.start()
        for thread in threads[:3]:
            thread.join()
        known = [name for known, _ in results for name in known]
        unknown = [name for _, unknown in results for name in unknown]
        assert len(known) + len(unknown) == 60
        check_rows(client, made.id, known, unknown)
        last = client.sessions.get(made.id).data_version
        eventually(lambda: versions and versions[-1] == last)
        ws.close()  # ends the one who reads
        threads[3].join(timeout=20)
        assert not threads[3].is_alive()
    assert versions == list(range(last + 1))
    client.sessions.delete(made.id)


def test_a_connection_that_was_idle_when_it_broke_costs_no_push(client, url):
    made = client.sessions.create()
    with (
        cutting(url, lambda: 1 << 30) as (proxied, cutter),
        LayerScale(proxied, api_key="key", reconnect=SOON) as reader,
        reader.sessions.ws(made.id) as ws,
    ):
        assert ws.push(CANDLES).pushed == 5
        cutter.cut_all()
        eventually(lambda: ws._connection.state.name != "OPEN")
        assert ws.push(CANDLES).pushed == 5
    assert client.sessions.status(made.id).statistics.total_enqueued == 10
    client.sessions.delete(made.id)


class Scripted:
    """A WebSocket server that is one function a connection."""

    def __init__(self, *turns):
        self._turns = list(turns)
        self.paths = []

    def __enter__(self):
        def handle(connection):
            self.paths.append(connection.request.path)
            turn = self._turns.pop(0)
            with suppress(ConnectionClosed):
                turn(connection)

        self._server = serve(handle, "127.0.0.1", 0)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        return f"http://127.0.0.1:{self._server.socket.getsockname()[1]}", self

    def __exit__(self, *_):
        self._server.shutdown()
        self._thread.join()


def silent(connection):
    connection.send(CONNECTED)
    for _ in connection:
        pass


def test_an_answer_that_does_not_come_in_time():
    with Scripted(silent) as (url, _), LayerScale(url) as client, client.sessions.ws("s") as ws:
        with pytest.raises(Unacknowledged, match="no answer for") as caught:
            ws.push(["a"], timeout=0.05)
        assert caught.value.data == ["a"]
        with pytest.raises(Disconnected, match="ping"):
            ws.ping(timeout=0.05)


def late(connection):
    connection.send(CONNECTED)
    for number in (1, 2):
        connection.recv()
        if number == 2:
            for n in (1, 2):
                connection.send(ACK % n)
    for _ in connection:
        pass


ACK = (
    '{"type":"push_ack","data":{"pushed":%d,"dropped":0,"queue_size":0,"queue_capacity":9,"total_enqueued":3,'
    '"total_dropped":0,"pending":0,"pending_bytes":0,"total_pushed":3,"data_version":0}}'
)


def test_a_late_answer_is_nobody_elses():
    with Scripted(late) as (url, _), LayerScale(url) as client, client.sessions.ws("s") as ws:
        with pytest.raises(Unacknowledged):
            ws.push("a", timeout=0.05)
        assert ws.push("b").pushed == 2


UPDATED = (
    '{"type":"data_updated","data":{"data_version":%d,"tokens":1,"pending":0,"data_count":0,"pos_next":1,'
    '"total_dropped":0},"id":%d}'
)


def flood(connection):
    connection.send(CONNECTED)
    connection.recv()
    for n in range(1, 1501):
        connection.send(UPDATED % (n, n))
    connection.send(ACK % 1)
    for _ in connection:
        pass


def test_events_that_nobody_reads_are_dropped_and_that_is_said():
    with Scripted(flood) as (url, _), LayerScale(url) as client, client.sessions.ws("s") as ws:
        assert ws.push("a").pushed == 1
        with pytest.raises(Overloaded, match="477 events"):
            next(ws)
        assert [next(ws).data_version for _ in range(1024)] == list(range(477, 1501))


def hang_up(connection):
    connection.send(CONNECTED)
    connection.recv()


def test_reconnecting_has_an_end():
    with ExitStack() as stack:
        with Scripted(hang_up) as (url, server):
            client = stack.enter_context(LayerScale(url, reconnect=SOON))
            ws = stack.enter_context(client.sessions.ws("s"))
            assert isinstance(next(ws), models.Connected)
            with pytest.raises(Unacknowledged):
                ws.push("a")
            assert server.paths == ["/v1/sessions/s/ws"]  # nobody waits, so nobody connects
        with pytest.raises(Disconnected):
            next(ws)
        with pytest.raises(Disconnected):
            ws.push("a")


def test_a_deadline_is_kept_while_a_connection_is_waited_for():
    patient = Backoff(first=30, most=30, tries=2)
    with Scripted(hang_up) as (url, _), LayerScale(url, reconnect=patient) as client, client.sessions.ws("s") as ws:
        with pytest.raises(Unacknowledged):
            ws.push("a")
        assert isinstance(next(ws), models.Connected)
        with pytest.raises(TimeoutError):
            ws.receive(timeout=0.2)
        with pytest.raises(TimeoutError):
            ws.push("a", timeout=0.05)
