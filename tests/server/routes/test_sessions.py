"""Sessions over HTTP: creation, state, list, append, slots, deletion; against the wire specification."""

from __future__ import annotations

import threading
import time
from uuid import uuid4

import numpy as np
import pytest

from kvtape import SharedRing
from tests.serving import eventually, push


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


def test_the_second_generation_s_creation_needs_nothing(http):
    created = http.post("/v1/sessions", json={}).json()
    assert created["id"] == created["session_id"]
    assert created["id"].startswith("sess_")
    assert (created["object"], created["type"], created["context"]) == ("session", "text", 2048)
    assert (created["tokens"], created["data_version"], created["pending"], created["turns"]) == (0, 0, 0, 0)
    assert (created["busy"], created["pre_decode"], created["ready"], created["evicted"]) == (False, False, False, 0)
    assert created["created"] == created["last_used"] > 1_700_000_000
    assert {"window", "frozen_end", "ready_token", "ready_gap", "context_text"}.isdisjoint(created)
    assert (created["window_size"], created["pos_min"], created["pos_max"], created["pos_next"]) == (0, 0, 0, 0)
    assert http.post("/v1/sessions", content=b"").status_code == 200
    http.delete(f"/v1/sessions/{created['id']}")


def test_ids_are_the_client_s_to_choose(http):
    body = {"id": "desk_A-1", "window": 200, "pre_decode": True, "overflow": "drop_newest"}
    created = http.post("/v1/sessions", json=body).json()
    assert (created["id"], created["window"], created["window_size"]) == ("desk_A-1", 200, 200)
    assert created["pre_decode"] is True
    again = http.post("/v1/sessions", json=body)
    assert (again.status_code, again.json()["error"]["type"]) == (409, "conflict_error")
    assert http.post("/v1/sessions/init", json={"type": "iot", "id": "desk_A-1"}).status_code == 409
    assert "desk_A-1" in [item["id"] for item in http.get("/v1/sessions").json()["data"]]
    http.delete("/v1/sessions/desk_A-1")
    assert http.post("/v1/sessions", json={"id": "desk_A-1"}).status_code == 200
    assert http.delete("/v1/sessions/desk_A-1").json() == {
        "id": "desk_A-1", "deleted": True, "object": "session.deleted",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"id": ""}, "id"),
        ({"id": "a b"}, "id"),
        ({"id": "x" * 129}, "id"),
        ({"id": 7}, "id"),
        ({"window": -1}, "window"),
        ({"window": 99_999}, "window"),
        ({"context": 99_999}, "context"),
        ({"type": "ohlcv"}, "type"),
        ({"overflow": "explode"}, "overflow"),
        ({"pre_decode": 1}, "pre_decode"),
    ],
)
def test_creations_of_the_second_generation_that_are_refused(http, body, param):
    response = http.post("/v1/sessions", json=body)
    assert response.status_code == 400
    error = response.json()["error"]
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
    assert param in error["message"]


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({"type": "weather"}, "type", None),
        ({"type": "ohlcv", "window_size": -64}, "window_size", None),
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


def test_deleting_a_session_that_answers_conflicts(app, http, session):
    body = {"prompt": "up?", "max_tokens": 1200, "ignore_eos": True}
    thread = threading.Thread(target=lambda: http.post(f"{session}/generate", json=body))
    with app.state.runtime.engine.together():  # no step, so the answer cannot end before
        thread.start()
        eventually(lambda: http.get(session).json()["busy"])
        assert http.delete(session).status_code == 409
    thread.join()
    assert http.delete(session).status_code == 200
    assert http.get(session).status_code == 404


def test_a_session_is_deleted_in_the_middle_of_its_ingest(http, text_session):
    http.post(f"{text_session}/flash", json={"query": "what next?", "max_tokens": 200})
    http.post(f"{text_session}/push", json={"data": ["so it goes on " * 8] * 12})
    started = time.monotonic()
    assert http.delete(text_session).json()["deleted"] is True
    assert time.monotonic() - started < 2.0
    assert http.get(text_session).status_code == 404


def test_what_a_window_lets_go(http, push_text):
    """With nothing in front of it the first position held is the window's."""
    created = http.post("/v1/sessions", json={"window": 100, "context": 1000}).json()
    session = f"/v1/sessions/{created['id']}"
    line = "a line of text"
    for _ in range(12):
        push_text(session, [line, line])
    state = http.get(session).json()
    assert state["evicted"] > 0
    assert 0 < state["pos_min"] < state["data_end"] == state["tokens"] == state["pos_next"]
    assert state["data_end"] - state["pos_min"] <= 100
    assert state["kv_tokens"] + 1 >= state["data_end"]
    assert 0 < state["cache_usage"] <= 0.1
    assert state["data_region"] == {"start": 0, "end": state["data_end"], "window_size": 100}
    assert http.get(f"{session}/stream/status").json()["streaming"]["window_size"] == 100
    http.delete(session)


def test_a_feed_handler_pushes_through_shared_memory(http):
    name = f"test-{uuid4().hex[:12]}"
    body = {"type": "iot", "shared_ring": {"name": name, "names": {"sid": ["pump"]}}}
    session = f"/v1/sessions/{http.post('/v1/sessions/init', json=body).json()['id']}"
    with SharedRing.open(name) as writer:
        rows = np.zeros(3, writer.dtype)
        assert writer.push(rows) == 3
    eventually(lambda: http.get(f"{session}/stream/status").json()["statistics"]["items_processed"] == 3)
    assert http.get(f"{session}/stats").json()["last_sensor"] == "pump"
    assert http.post("/v1/sessions/init", json=body).status_code == 409
    http.delete(session)
    body["shared_ring"]["capacity"] = 3
    response = http.post("/v1/sessions/init", json=body)
    assert (response.status_code, response.json()["error"]["param"]) == (400, "shared_ring.capacity")
