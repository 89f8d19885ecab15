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


def test_frames_are_these_bytes(http, text_session):
    """With one space behind each colon, the payload on one line, and one blank line at the end."""
    session_id = text_session.removeprefix("/v1/sessions/")
    with http.stream("GET", f"{text_session}/events") as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["cache-control"] == "no-cache"
        pieces = response.iter_bytes()
        opening = (
            'event: connected\ndata: {"type":"connected","session_id":"%s","data_version":0,"flash_queries":0,'
            '"streaming":true}\nid: 0\n\n'
        )
        assert next(pieces) == (opening % session_id).encode()
        http.post(f"{text_session}/append", json={"text": "abc"})
        n_tokens = http.get(text_session).json()["data_end"]
        updated = (
            'event: data_updated\ndata: {"type":"data_updated","data_version":1,"tokens":%d,"pending":0,"data_count":0,'
            '"pos_next":%d,"total_dropped":0}\nid: 1\n\n'
        )
        assert next(pieces) == (updated % (n_tokens, n_tokens)).encode()


def test_line_breaks_that_only_some_know_are_escaped(http, text_session, push_text):
    http.post(f"{text_session}/flash", json={"query": "a\x85b\u2028c\u2029d\x1ce?", "max_tokens": 1})
    push_text(text_session, "a line")
    eventually(lambda: http.get(f"{text_session}/flash").json()["data"][0]["fresh"])
    with http.stream("GET", f"{text_session}/events") as response:
        opening = next(response.iter_bytes())
    assert rb'"query":"a\u0085b\u2028c\u2029d\u001ce?"' in opening
    assert len(opening.decode().splitlines()) == opening.count(b"\n")


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
