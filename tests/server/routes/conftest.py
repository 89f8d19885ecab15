"""Fixtures of the routes of sessions."""

from __future__ import annotations

import pytest

from tests.serving import eventually


@pytest.fixture
def session(http):
    """The path of a session of candles."""
    body = {"type": "ohlcv", "prompt": "be brief", "context": 1500}
    created = http.post("/v1/sessions/init", json=body).json()
    yield f"/v1/sessions/{created['id']}"
    http.delete(f"/v1/sessions/{created['id']}")


@pytest.fixture
def text_session(http):
    """The path of a session of the second generation."""
    created = http.post("/v1/sessions", json={}).json()
    yield f"/v1/sessions/{created['id']}"
    http.delete(f"/v1/sessions/{created['id']}")


@pytest.fixture
def push_text(http):
    """Push as the clients of the second generation do, waiting included; returns the acknowledgement."""

    def push(session, data):
        ack = http.post(f"{session}/push", json={"data": data}).json()

        def resident():
            state = http.get(session).json()
            caught_up = state["pending"] == 0 and state["data_version"] > ack["data_version"]
            return caught_up and state["kv_tokens"] + 1 >= state["data_end"]

        eventually(resident)
        return ack

    return push
