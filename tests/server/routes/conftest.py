"""Fixtures of the routes of sessions."""

from __future__ import annotations

import pytest


@pytest.fixture
def session(http):
    """The path of a session of candles."""
    body = {"type": "ohlcv", "prompt": "be brief", "context": 1500}
    created = http.post("/v1/sessions/init", json=body).json()
    yield f"/v1/sessions/{created['id']}"
    http.delete(f"/v1/sessions/{created['id']}")
