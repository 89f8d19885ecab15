"""Event streams over HTTP, against the wire specification."""

from __future__ import annotations

import json

import pytest

from kvtape.protocols.sse import SseDecoder
from kvtape.server import responses
from tests.serving import CANDLES, eventually, push


class Events:
    """An open event stream."""

    def __init__(self, http, session, after=None, query=""):
        self._decoder, self._ready = SseDecoder(), []
        headers = {} if after is None else {"last-event-id": after}
        self._context = http.stream("GET", f"{session}/events{query}", headers=headers)
        self.last_id = ""

    def __enter__(self):
        self._pieces = self._context.__enter__().iter_bytes()
        return self

    def __exit__(self, *error):
        self._context.__exit__(*error)

    def next(self):
        while not self._ready:
            self._ready = self._decoder.feed(next(self._pieces))
        event = self._ready.pop(0)
        body = json.loads(event.data)
        assert body["type"] == event.event
        self.last_id = event.id
        return body


def test_events_go_on_where_the_reader_broke_off(http, session):
    http.post(f"{session}/flash", json={"query": "up?", "max_tokens": 2})
    with Events(http, session) as events:
        assert events.next()["type"] == "connected"
        push(http, session)
        assert events.next()["type"] == "data_updated"
        seen = events.last_id
    eventually(lambda: http.get(f"{session}/flash").json()["data"][0]["fresh"])
    push(http, session)
    eventually(lambda: http.get(f"{session}/flash").json()["data"][0].get("data_version") == 2)
    with Events(http, session, after=seen) as events:
        bodies = [events.next() for _ in range(4)]
        assert events.last_id == "4"
    assert [body["type"] for body in bodies] == ["connected", "flash_ready", "data_updated", "flash_ready"]
    assert [body["data_version"] for body in bodies] == [2, 1, 2, 2]
    for nonsense in ("x", "-1", "99", "\u0663"):
        with Events(http, session, after=nonsense.encode()) as events:
            assert [events.next()["type"] for _ in range(2)] == ["connected", "flash_ready"]
            assert events.last_id == "4"


def test_events_replay_the_answers_and_then_follow_the_data(http, session):
    http.post(f"{session}/flash", json={"query": "up?", "max_tokens": 4})
    push(http, session)
    eventually(lambda: http.get(f"{session}/flash").json()["data"][0]["fresh"])
    session_id = session.removeprefix("/v1/sessions/")
    with Events(http, session) as events:
        connected = {
            "type": "connected",
            "session_id": session_id,
            "data_version": 1,
            "flash_queries": 1,
            "streaming": True,
        }
        assert events.next() == connected
        replayed = events.next()
        assert set(replayed) == {"type", "id", "query", "value", "data_version", "confidence", "evaluated_at"}
        assert (replayed["type"], replayed["data_version"]) == ("flash_ready", 1)
        for version in (2, 3):
            push(http, session, CANDLES[:1])
            updated = events.next()
            assert set(updated) == {
                "type",
                "data_version",
                "tokens",
                "pending",
                "data_count",
                "pos_next",
                "total_dropped",
            }
            assert (updated["type"], updated["data_version"]) == ("data_updated", version)
            assert updated["data_count"] == 3 + version + 1
            ready = events.next()
            assert (ready["type"], ready["data_version"], ready["id"]) == ("flash_ready", version, 1)


def test_a_reader_may_ask_for_changes_only(http, session):
    query = {"query": "up?", "choices": ["y", "\u00a1\u00a2\u00a3\u00a4\u00a5"]}  # of which one is far more probable
    http.post(f"{session}/flash", json=query)
    push(http, session)
    eventually(lambda: http.get(f"{session}/flash").json()["data"][0]["fresh"])
    with Events(http, session, query="?changes_only=true") as events:
        assert [events.next()["type"] for _ in range(2)] == ["connected", "flash_ready"]
        for version in (2, 3):
            push(http, session, CANDLES[:1])
            eventually(lambda: http.get(f"{session}/flash").json()["data"][0]["fresh"])
            updated = events.next()
            assert (updated["type"], updated["data_version"]) == ("data_updated", version)
    refused = http.get(f"{session}/events?changes_only=maybe")
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "changes_only")


def test_events_end_with_the_session(http, session):
    with Events(http, session) as events:
        events.next()
        http.delete(session)
        with pytest.raises(StopIteration):
            events.next()


def test_silence_has_a_heartbeat(http, session, monkeypatch):
    monkeypatch.setattr(responses, "HEARTBEAT_SECONDS", 0.01)
    with http.stream("GET", f"{session}/events") as response:
        pieces = response.iter_bytes()
        assert next(pieces).startswith(b"event: connected\ndata: {")
        assert next(pieces).startswith(b": heartbeat\n\n")
