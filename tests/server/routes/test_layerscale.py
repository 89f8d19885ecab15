"""Live-data sessions over HTTP, against the wire specification."""

from __future__ import annotations

import json
import threading

import pytest

from kvtape.protocols.sse import SseDecoder
from kvtape.server import responses
from tests.serving import CANDLES, ROWS, STATS, eventually


@pytest.fixture
def session(http):
    body = {"type": "ohlcv", "prompt": "be brief", "context": 1500}
    created = http.post("/v1/sessions/init", json=body).json()
    yield f"/v1/sessions/{created['id']}"
    http.delete(f"/v1/sessions/{created['id']}")


def push(http, session, rows=CANDLES):
    """Push as the older clients do, waiting included."""
    ack = http.post(f"{session}/stream/push", json={"data": rows}).json()

    def resident():
        status = http.get(f"{session}/stream/status").json()
        processed = status["statistics"]["items_processed"]
        return status["streaming"]["queue_size"] == 0 and processed >= ack["total_enqueued"]

    eventually(resident)
    return ack


class Events:
    """An open event stream."""

    def __init__(self, http, session, after=None):
        self._decoder, self._ready = SseDecoder(), []
        headers = {} if after is None else {"last-event-id": after}
        self._context = http.stream("GET", f"{session}/events", headers=headers)
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


def test_creation_answers_with_both_generations_fields(http):
    flash = ["up?", {"query": "down?", "max_tokens": 4}]
    body = {"type": "ohlcv", "prompt": "be brief", "contextSize": 300, "flash": flash, "markPrefix": True}
    created = http.post("/v1/sessions/init", json=body).json()
    assert created["session_id"] == created["id"]
    assert created["id"].startswith("sess_")
    assert (created["type"], created["context"], created["context_size"]) == ("ohlcv", 300, 300)
    assert (created["window_size"], created["flash_queries"], created["data_version"]) == (0, 2, 0)
    assert created["pos_max"] == created["n_tokens"] - 1 == created["tokens"] - 1
    assert created["prefix_end"] == created["frozen_end"] == created["n_tokens"]
    assert created["data_region"] == {"start": created["n_tokens"], "end": created["n_tokens"], "window_size": 0}
    assert (created["busy"], created["in_use"], created["pending"], created["tokens_per_row"]) == (False, False, 0, 0)
    assert "context_text" not in created
    assert http.delete(f"/v1/sessions/{created['id']}").json() == {
        "id": created["id"], "deleted": True, "object": "session.deleted",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({"type": "weather"}, "type", None),
        ({"type": "ohlcv", "window_size": 64}, "window_size", None),
        ({"type": "ohlcv", "context": 99999}, "context", None),
        ({"type": "ohlcv", "prompt": "x" * 4000}, "prompt", "context_length_exceeded"),
    ],
)
def test_creations_that_are_refused(http, body, param, code):
    response = http.post("/v1/sessions/init", json=body)
    assert response.status_code == 400
    error = response.json()["error"]
    assert (error["param"], error.get("code")) == (param, code)


def test_equal_flash_queries_at_creation_conflict(http):
    response = http.post("/v1/sessions/init", json={"type": "ohlcv", "flash": ["a", "a"]})
    assert response.status_code == 409


def test_a_push_is_acknowledged_at_once_and_then_resident(http, session):
    ack = push(http, session)
    assert ack == {
        "pushed": 5, "dropped": 0, "queue_size": 5, "queue_capacity": 16384, "total_enqueued": 5, "total_dropped": 0,
        "pending": 5, "pending_bytes": ack["pending_bytes"], "total_pushed": 5, "data_version": 0,
    }  # fmt: skip
    status = http.get(f"{session}/stream/status").json()
    assert status["type"] == "ohlcv"
    assert status["streaming"] == {
        "initialized": True, "running": True, "error": False, "queue_size": 0, "queue_capacity": 16384,
        "window_size": 0, "process_interval_us": 0,
    }  # fmt: skip
    statistics = status["statistics"]
    assert (statistics["total_enqueued"], statistics["items_processed"], statistics["batches_processed"]) == (5, 5, 1)
    assert statistics["avg_process_time_us"] == statistics["total_process_time_us"] > 0
    state = http.get(session).json()
    assert status["data"]["data_count"] == state["data_count"] == 5
    assert status["data"]["tokens_per_row"] == state["tokens_per_row"] == status["data"]["total_data_tokens"] / 5
    # what the newer clients wait for
    assert state["pending"] == 0
    assert state["data_version"] > ack["data_version"]
    assert state["kv_tokens"] + 1 >= state["data_end"]


def test_a_bad_row_is_named_and_nothing_is_queued(http, session):
    rows = [*CANDLES[:3], {"o": 1, "h": "high", "l": 1, "c": 1, "v": 1}]
    response = http.post(f"{session}/stream/push", json={"data": rows})
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "data[3].h"
    assert http.get(f"{session}/stream/status").json()["statistics"]["total_enqueued"] == 0


def test_statistics(http, session):
    empty = http.get(f"{session}/stats").json()
    assert (empty["type"], empty["count"], empty["avg_close"]) == ("ohlcv", 0, 0)
    push(http, session)
    stats = http.get(f"{session}/stats").json()
    closes = [candle["c"] for candle in CANDLES]
    assert stats["count"] == 5
    assert (stats["max_high"], stats["max_high_index"]) == (152.1, 4)
    assert (stats["min_low"], stats["min_low_index"]) == (150.1, 0)
    assert (stats["max_volume"], stats["first_open"], stats["last_close"]) == (1_500_000, 150.2, 152.0)
    assert stats["avg_close"] == pytest.approx(sum(closes) / 5)
    assert stats["change_pct"] == pytest.approx(100 * (152.0 - 150.2) / 150.2)


def test_state_shows_the_text(http, session):
    push(http, session)
    state = http.get(f"{session}/state").json()
    assert state["context_text"].startswith("<|im_start|>system\nbe brief<|im_end|>\n")
    assert "AAPL" in state["context_text"]
    assert len(state["context_text"].splitlines()) >= 8
    assert {**state, "context_text": 0, "last_used": 0, "last_used_at": 0} == {
        **http.get(session).json(), "context_text": 0, "last_used": 0, "last_used_at": 0,
    }  # fmt: skip


def test_sessions_are_listed_twice_over(http, session):
    body = http.get("/v1/sessions").json()
    assert body["object"] == "list"
    assert body["data"] == body["sessions"]
    assert body["count"] == len(body["data"])
    assert body["max_sessions"] == 256
    assert session.removeprefix("/v1/sessions/") in [item["session_id"] for item in body["data"]]


def test_append_and_mark_prefix(http, session):
    before = http.get(session).json()
    added = http.post(f"{session}/append", json={"text": "note\n"}).json()
    assert added["total_tokens"] == before["n_tokens"] + added["n_tokens_added"] == added["pos_max"] + 1
    eventually(lambda: http.get(session).json()["data_version"] == 1)
    marked = http.post(f"{session}/mark_prefix", json={}).json()
    assert marked["prefix_end"] == added["total_tokens"]
    assert marked["message"]
    assert http.post(f"{session}/mark_prefix", json={}).json() == marked
    assert http.get(session).json()["frozen_end"] == marked["prefix_end"]
    overflow = http.post(f"{session}/append", json={"text": "x" * 3000})
    assert overflow.json()["error"]["code"] == "context_length_exceeded"


def test_slots_lie_end_to_end(http, session):
    n_prompt = http.get(session).json()["n_tokens"]
    push(http, session)
    http.post(f"{session}/generate", json={"prompt": "up?", "max_tokens": 4})
    state, body = http.get(session).json(), http.get(f"{session}/slots").json()
    assert [(slot["name"], slot["start"], slot["end"]) for slot in body["slots"]] == [
        ("prompt", 0, n_prompt), ("data", n_prompt, state["data_end"]), ("tail", state["data_end"], state["tokens"]),
    ]  # fmt: skip
    assert all(slot["n_tokens"] == slot["end"] - slot["start"] for slot in body["slots"])
    assert (body["prefix_end"], body["pos_next"], body["total_tokens"]) == (0, state["tokens"], state["tokens"])
    assert body["data_region"] == {"start": 0, "end": state["data_end"], "window_size": 0}


def test_a_question_is_answered_and_reported(http, session):
    push(http, session)
    durable = http.get(session).json()["data_end"]
    body = {"prompt": "up?", "max_tokens": 6, "ignore_eos": True}
    answer = http.post(f"{session}/generate", json=body).json()
    assert set(answer) == {
        "text", "finish_reason", "n_tokens", "total_tokens", "pos_max", "id", "object", "session_id", "data_version",
        "usage",
    }  # fmt: skip
    assert (answer["finish_reason"], answer["n_tokens"], answer["data_version"]) == ("length", 6, 1)
    usage = answer["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + 6 == answer["total_tokens"] == answer["pos_max"] + 1
    assert durable - 1 <= usage["prompt_tokens_details"]["cached_tokens"] <= durable
    state = http.get(session).json()
    assert (state["tokens"], state["data_end"], state["turns"]) == (answer["total_tokens"], durable, 1)
    cleared = http.post(f"{session}/generate", json={**body, "clear_after": 1}).json()
    assert (cleared["text"], cleared["total_tokens"]) == (answer["text"], durable)


def test_a_streamed_answer_adds_up_and_ends_without_a_sentinel(http, session):
    push(http, session)
    body = {"prompt": "up?", "max_tokens": 6, "ignore_eos": True}
    plain = http.post(f"{session}/generate", json=body).json()
    response = http.post(f"{session}/generate", json={**body, "stream": True})
    assert response.headers["content-type"].startswith("text/event-stream")
    *pieces, final = [json.loads(event.data) for event in SseDecoder().feed(response.content)]
    assert all(piece["done"] is False and piece["token"] == piece["text"] for piece in pieces)
    assert "".join(piece["text"] for piece in pieces) == plain["text"]
    positions = [piece["pos"] for piece in pieces]
    assert positions == sorted(positions)
    assert plain["total_tokens"] - 6 <= positions[0]
    assert positions[-1] <= plain["pos_max"]
    assert final.pop("done") is True
    assert {**final, "id": plain["id"]} == plain


def test_refusals_of_questions(http, session):
    for body, param in [
        ({"messages": [{"role": "user", "content": "x"}]}, "messages"),
        ({"prompt": "x", "tools": [{}]}, "tools"),
        ({"prompt": "x" * 3000}, "prompt"),
    ]:
        for stream in (False, True):
            response = http.post(f"{session}/generate", json={**body, "stream": stream})
            assert response.status_code == 400
            assert response.json()["error"]["param"] == param
    assert http.get(session).json()["busy"] is False


def test_flash_queries_are_registered_listed_and_removed(http, session):
    added = http.post(f"{session}/flash", json={"query": "up?"}).json()
    assert added == {
        "id": 1, "object": "flash_query", "query": "up?", "max_tokens": 32, "tokens": added["tokens"],
        "n_tokens": added["tokens"], "fresh": False, "total_flash_queries": 1,
    }  # fmt: skip
    listed = http.get(f"{session}/flash").json()
    assert (listed["count"], listed["data_version"], listed["current_data_version"]) == (1, 0, 0)
    assert set(listed["data"][0]) == {"id", "object", "query", "max_tokens", "tokens", "fresh"}
    assert listed["flash_queries"][0] == {
        "id": 1, "query": "up?", "max_tokens": 32, "n_tokens": added["tokens"], "has_answer": False, "value": "",
        "data_version": 0, "confidence": 0.0, "evaluated_at": 0,
    }  # fmt: skip
    assert http.post(f"{session}/flash", json={"query": "up?"}).status_code == 409
    assert http.post(f"{session}/flash", json={"query": " "}).status_code == 400
    push(http, session)
    eventually(lambda: http.get(f"{session}/flash").json()["data"][0]["fresh"])
    listed = http.get(f"{session}/flash").json()
    item, entry = listed["flash_queries"][0], listed["data"][0]
    assert item["has_answer"] is True
    for name in ("value", "data_version", "confidence", "evaluated_at"):
        assert item[name] == entry[name]
    assert (item["data_version"], listed["current_data_version"]) == (1, 1)
    assert item["confidence"] >= 0
    assert http.delete(f"{session}/flash/1").json() == {
        "id": 1, "remaining": 0, "deleted": True, "success": True, "object": "flash_query.deleted",
    }  # fmt: skip
    assert http.delete(f"{session}/flash/1").status_code == 404
    assert http.delete(f"{session}/flash/x").status_code == 400


@pytest.mark.parametrize("stream", [False, True])
def test_an_equal_question_is_answered_from_the_flash_cache(http, session, stream):
    http.post(f"{session}/flash", json={"query": "up?", "max_tokens": 5})
    push(http, session)
    eventually(lambda: http.get(f"{session}/flash").json()["data"][0]["fresh"])
    flash = http.get(f"{session}/flash").json()["data"][0]
    hits = http.get("/health").json()["session_flash_hits"]
    body = {"prompt": " up?\n", "max_tokens": 8, "fast_answer": True, "stream": stream}
    response = http.post(f"{session}/generate", json=body)
    if stream:
        piece, answer = [json.loads(event.data) for event in SseDecoder().feed(response.content)]
        assert piece["text"] == flash["value"]
        assert answer.pop("done") is True
    else:
        answer = response.json()
    assert answer["text"] == flash["value"]
    assert (answer["flash"], answer["flash_id"], answer["confidence"]) == (True, 1, flash["confidence"])
    assert answer["usage"] == {"prompt_tokens": 0, "completion_tokens": 0}
    assert (answer["n_tokens"], answer["data_version"]) == (0, 1)
    assert answer["total_tokens"] == http.get(session).json()["tokens"]
    assert http.get("/health").json()["session_flash_hits"] == hits + 1


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
            assert set(updated) == {"type", "data_version", "tokens", "pending", "data_count", "pos_next"}
            assert (updated["type"], updated["data_version"]) == ("data_updated", version)
            assert updated["data_count"] == 3 + version + 1
            ready = events.next()
            assert (ready["type"], ready["data_version"], ready["id"]) == ("flash_ready", version, 1)


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


def test_deleting_a_session_that_answers_conflicts(http, session):
    body = {"prompt": "up?", "max_tokens": 1200, "ignore_eos": True}
    thread = threading.Thread(target=lambda: http.post(f"{session}/generate", json=body))
    thread.start()
    eventually(lambda: http.get(session).json()["busy"])
    assert http.delete(session).status_code == 409
    thread.join()
    assert http.delete(session).status_code == 200
    assert http.get(session).status_code == 404


def test_a_context_that_is_full_says_so_and_keeps_counting(http):
    body = {"type": "ohlcv", "prompt": "be brief", "context": 200}
    session = f"/v1/sessions/{http.post('/v1/sessions/init', json=body).json()['id']}"
    push(http, session, CANDLES * 20)
    status = http.get(f"{session}/stream/status").json()
    assert status["streaming"]["error"] is True
    assert status["statistics"]["items_processed"] == 100
    assert status["statistics"]["total_dropped"] == 100 - status["data"]["data_count"] > 0
    ack = push(http, session)
    assert (ack["pushed"], ack["dropped"]) == (0, 5)
    http.delete(session)


# -- every type of row -------------------------------------------------------------------------------------------------


@pytest.fixture
def open_session(http):
    opened = []

    def make(stream_type):
        created = http.post("/v1/sessions/init", json={"type": stream_type}).json()
        assert created["type"] == stream_type
        opened.append(f"/v1/sessions/{created['id']}")
        return opened[-1]

    yield make
    for session in opened:
        http.delete(session)


TEXTS = {
    "iot": """\
Sensor readings, one a line: sensor, value, low limit, high limit; @ gives the time where it jumps.
@2024-11-30T20:53:20 boiler 71.25 60 85
@2024-11-30T20:53:20 "pump 3" 3.5 2 4
@2024-11-30T20:54:20 boiler 91.5 60 85
""",
    "spatial": """\
Positions, one a line: x, y, z, speed, heading in degrees; @ gives the time where it jumps.
@2024-11-30T20:53:20 0 0 0 5 350
@2024-11-30T20:53:22 3 4 0 7.5 10
@2024-11-30T20:53:23 3 4 12 2.5 10
""",
    "event": """\
Events, one a line: source, severity, category, count; @ gives the time where it jumps.
@2024-11-30T20:53:20 db-1 4 "disk full" 2
@2024-11-30T20:53:21 web 1 login 17
@- db-1 5 "disk full" 16
""",
    "vitals": """\
Vital signs, one a line: heart rate, blood pressure, SpO2, temperature; @ gives the time where it jumps.
@2024-11-30T20:53:20 72 120/80 98.5 36.8
@2024-11-30T20:54:20 104 132/90 89 38
110 120/75 91 38.5
""",
}


@pytest.mark.parametrize("stream_type", TEXTS)
def test_rows_of_each_type_become_text_and_statistics(http, open_session, stream_type):
    session = open_session(stream_type)
    ack = push(http, session, ROWS[stream_type])
    assert (ack["pushed"], ack["dropped"]) == (3, 0)
    assert http.get(f"{session}/stream/status").json()["type"] == stream_type
    state = http.get(f"{session}/state").json()
    assert (state["type"], state["data_count"]) == (stream_type, 3)
    assert state["context_text"].endswith(TEXTS[stream_type])
    found = http.get(f"{session}/stats").json()
    assert list(found) == list(STATS[stream_type])
    assert found == STATS[stream_type]


@pytest.mark.parametrize("stream_type", STATS)
def test_statistics_have_every_field_before_the_first_row(http, open_session, stream_type):
    found = http.get(f"{open_session(stream_type)}/stats").json()
    assert list(found) == list(STATS[stream_type])
    assert found["count"] == 0
    assert "null" not in json.dumps(found)


@pytest.mark.parametrize("route", ["stream/push", "push"])
@pytest.mark.parametrize("stream_type", STATS)
def test_rows_of_another_type_are_refused_whole(http, open_session, stream_type, route):
    session = open_session(stream_type)
    other = ROWS["vitals" if stream_type != "vitals" else "ohlcv"][0]
    response = http.post(f"{session}/{route}", json={"data": [*ROWS[stream_type], other]})
    assert response.status_code == 400
    error = response.json()["error"]
    field = next(iter(ROWS[stream_type][0]))
    assert (error["type"], error["param"]) == ("invalid_request_error", f"data[{len(ROWS[stream_type])}].{field}")
    assert f"a row of type {stream_type} has " in error["message"]
    assert http.get(f"{session}/stream/status").json()["statistics"]["total_enqueued"] == 0
    assert http.post(f"{session}/{route}", json={"data": ROWS[stream_type]}).json()["pushed"] == len(ROWS[stream_type])


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b'{"data": [{"src": "a", "sev": 1.5, "cat": "c", "cnt": 1}]}', "data[0].sev"),
        (b'{"data": [{"src": "a", "sev": 1, "cat": null, "cnt": 1}]}', "data[0].cat"),
        (b'{"data": [{"src": "a", "sev": 1, "cat": "c", "cnt": 1e400}]}', None),  # no number of JSON
        (b'{"data": [{"src": "a", "sev": 1, "cat": "c", "cnt": NaN}]}', None),
        (b'{"data": "a raw line"}', "data"),
        (b'{"data": [{"src": "%s", "sev": 1, "cat": "c", "cnt": 1}]}' % (b"s" * 65), "data[0].src"),
        (b'{"data": [{"src": "a", "sev": 1, "cat": "c", "cnt": 1, "ts": "now"}]}', "data[0].ts"),
    ],
)
def test_wrong_events_are_named(http, open_session, body, param):
    session = open_session("event")
    response = http.post(f"{session}/stream/push", content=body, headers={"content-type": "application/json"})
    assert (response.status_code, response.json()["error"].get("param")) == (400, param)
    assert http.get(f"{session}/stream/status").json()["statistics"]["total_enqueued"] == 0
