"""A session's WebSocket over loopback, driven by the websockets library."""

from __future__ import annotations

import json
import logging
from contextlib import contextmanager, suppress

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from kvtape.server import create_app
from kvtape.server.routes import session_socket
from tests.serving import CANDLES, eventually, running


@pytest.fixture(scope="module")
def server(tiny_engine):
    with running(create_app(tiny_engine)) as url:
        yield url


@contextmanager
def session(server, **options):
    with httpx.Client(base_url=server, timeout=30) as http:
        made = http.post("/v1/sessions/init", json={"type": "ohlcv", "prompt": "the", **options}).json()["session_id"]
        yield http, made
        http.delete(f"/v1/sessions/{made}")


def address(server, session_id, query=""):
    return f"{server.replace('http', 'ws')}/v1/sessions/{session_id}/ws{query}"


def receive(socket):
    message = json.loads(socket.recv(timeout=20))
    return message["type"], message["data"]


def say(socket, **message):
    socket.send(json.dumps(message))


def test_a_push_is_acknowledged_before_what_it_causes(server):
    with (
        session(server, flash=[{"query": "Rising?", "max_tokens": 2}]) as (_, made),
        connect(address(server, made)) as ws,
    ):
        kind, data = receive(ws)
        assert kind == "connected"
        assert data["session_id"] == made
        assert (data["data_version"], data["flash_queries"], data["streaming"]) == (0, 1, True)
        say(ws, type="push", data=CANDLES)
        kind, ack = receive(ws)
        assert kind == "push_ack"
        assert (ack["pushed"], ack["dropped"], ack["data_version"]) == (5, 0, 0)
        kind, updated = receive(ws)
        assert kind == "data_updated"
        assert updated["data_version"] == 1
        kind, ready = receive(ws)
        assert kind == "flash_ready"
        assert (ready["query"], ready["data_version"]) == ("Rising?", 1)
    with session(server) as (_, other), connect(address(server, other)) as ws:
        assert receive(ws)[0] == "connected"


def test_answers_that_are_there_are_replayed(server):
    with session(server, flash=["Rising?"]) as (http, made):
        http.post(f"/v1/sessions/{made}/stream/push", json={"data": CANDLES})
        eventually(lambda: http.get(f"/v1/sessions/{made}/flash").json()["data"][0].get("data_version") == 1)
        with connect(address(server, made)) as ws:
            messages = [json.loads(ws.recv(timeout=20)) for _ in range(2)]
        # Who breaks off between the two has no number to go on behind, and gets them again.
        found = [(message["type"], message.get("id")) for message in messages]
        assert found == [("connected", None), ("flash_ready", 2)]


def test_a_socket_goes_on_where_the_last_one_broke_off(server):
    with session(server) as (http, made):
        with connect(address(server, made)) as ws:
            assert json.loads(ws.recv(timeout=20))["id"] == 0
        http.post(f"/v1/sessions/{made}/stream/push", json={"data": CANDLES})
        eventually(lambda: http.get(f"/v1/sessions/{made}").json()["data_version"] == 1)
        with connect(address(server, made, "?last_event_id=0")) as ws:
            messages = [json.loads(ws.recv(timeout=20)) for _ in range(2)]
        assert [(message["type"], message["id"]) for message in messages] == [("connected", 0), ("data_updated", 1)]


def test_errors_leave_the_connection_open(server):
    with session(server) as (_, made), connect(address(server, made)) as ws:
        receive(ws)
        for text in ["{", '{"type":"pull"}', '{"type":"push","data":[{"o":1}]}', b"\x00"]:
            ws.send(text)
            kind, data = receive(ws)
            assert kind == "error"
            assert data["code"] == 400
        say(ws, type="ping")
        assert receive(ws) == ("pong", {})


def test_text_goes_in_too(server):
    with session(server) as (http, typed):
        made = http.post("/v1/sessions", json={}).json()["id"]
        with connect(address(server, made)) as ws:
            assert receive(ws)[1]["session_id"] == made
            for data, pushed in [("a line", 1), (["two", "lines"], 2), ("", 1)]:
                say(ws, type="push", data=data)
                kind, ack = receive(ws)
                assert (kind, ack["pushed"], ack["dropped"]) == ("push_ack", pushed, 0)
                assert {"pending", "pending_bytes", "total_pushed", "total_dropped", "data_version"} <= set(ack)
                kind, updated = receive(ws)
                assert kind == "data_updated"
                assert updated["data_version"] > ack["data_version"]
                assert (updated["data_count"], updated["total_dropped"]) == (0, 0)
            for data, param in [([], "data"), ([7], "data[0]"), (CANDLES[:1], "data[0]"), (7, "data")]:
                say(ws, type="push", data=data)
                kind, error = receive(ws)
                assert (kind, error["code"]) == ("error", 400)
                assert param in error["message"]
        http.delete(f"/v1/sessions/{made}")
        with connect(address(server, typed)) as ws:
            receive(ws)
            say(ws, type="push", data=["before", *CANDLES[:1]])
            assert receive(ws)[1]["pushed"] == 2
            say(ws, type="push", data=[])
            while (message := receive(ws))[0] == "data_updated":
                pass
            assert (message[0], message[1]["pushed"]) == ("push_ack", 0)


def test_many_pushes_without_reading_lose_nothing(server):
    with session(server) as (http, made), connect(address(server, made), max_queue=None) as ws:
        receive(ws)
        for _ in range(30):
            say(ws, type="push", data=CANDLES[:1])
        n_acks = 0
        while n_acks < 30:
            kind, data = receive(ws)
            n_acks += kind == "push_ack"
            assert data.get("dropped", 0) == 0
        status = http.get(f"/v1/sessions/{made}/stream/status").json()
        assert status["statistics"]["total_enqueued"] == 30


def test_either_side_may_end_it(server):
    with session(server) as (http, made):
        with connect(address(server, made)) as ws:
            receive(ws)
            say(ws, type="close")
            with pytest.raises(ConnectionClosed):
                ws.recv(timeout=20)
        with connect(address(server, made)) as ws:
            receive(ws)
            assert http.delete(f"/v1/sessions/{made}").status_code == 200
            with pytest.raises(ConnectionClosed):
                ws.recv(timeout=20)


def test_a_frame_that_is_too_large_ends_it_unread(server):
    with session(server) as (http, made), connect(address(server, made)) as ws:
        receive(ws)
        with suppress(ConnectionClosed):
            ws.send(b"x" * ((16 << 20) + 1))
        with pytest.raises(ConnectionClosed):
            ws.recv(timeout=20)
        assert http.get(f"/v1/sessions/{made}").status_code == 200


@pytest.mark.parametrize(("path", "status"), [("sess_none", 404), ("not%20an%20id", 400)])
def test_a_refused_handshake_is_a_plain_error(server, path, status):
    with pytest.raises(InvalidStatus) as caught, connect(address(server, path)):
        pass
    response = caught.value.response
    assert response.status_code == status
    assert json.loads(response.body)["error"]["message"]
    assert response.headers["x-request-id"]


def test_an_unknown_path_is_404_for_a_socket_too(server, caplog):
    with pytest.raises(InvalidStatus) as caught, connect(f"{server.replace('http', 'ws')}/v1/nothing"):
        pass
    assert caught.value.response.status_code == 404
    assert httpx.get(f"{server}/health").status_code == 200
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []  # a refusal is no fault


def test_the_server_pings_and_drops_who_does_not_answer(server, monkeypatch):
    monkeypatch.setattr(session_socket, "PING_SECONDS", 0.05)
    monkeypatch.setattr(session_socket, "READ_SECONDS", 0.3)
    pings = []
    with session(server) as (_, made):
        with connect(address(server, made)) as ws:
            receive_data = ws.protocol.recv_frame

            def record(frame):
                pings.append(bytes(frame.data))
                receive_data(frame)

            monkeypatch.setattr(ws.protocol, "recv_frame", record)
            receive(ws)
            eventually(lambda: pings.count(b"hb") >= 10)  # answered each time, so it lives on
        with connect(address(server, made)) as ws:
            monkeypatch.setattr(ws.protocol, "recv_frame", lambda frame: None)
            eventually(lambda: ws.state.name != "OPEN" or not ws.recv_events_thread.is_alive())


@pytest.mark.parametrize(
    ("query", "options"),
    [
        ("", {"additional_headers": {"Authorization": "Bearer secret"}}),
        ("", {"additional_headers": {"x-api-key": "secret"}}),
        ("?api_key=secret", {}),
        ("?token=secret", {}),
        ("", {"subprotocols": ["bearer", "secret"]}),
    ],
)
def test_a_key_may_come_the_ways_that_browsers_have(tiny_engine, query, options):
    with running(create_app(tiny_engine, api_keys=["secret"])) as url:
        with httpx.Client(base_url=url, headers={"x-api-key": "secret"}) as http:
            made = http.post("/v1/sessions/init", json={"type": "ohlcv"}).json()["session_id"]
        with connect(address(url, made, query), **options) as ws:
            assert receive(ws)[0] == "connected"
        for wrong in ("", "?api_key=public"):
            with pytest.raises(InvalidStatus) as caught, connect(address(url, made, wrong)):
                pass
            assert caught.value.response.status_code == 401
