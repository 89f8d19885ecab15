"""A server on a loopback port for tests, and the engine of a tiny model to put behind it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette

from kvtape import Engine
from kvtape.server.serving import SERVER_OPTIONS, listen

__all__ = ["CANDLES", "ROWS", "STATS", "eventually", "push", "running", "tiny_engine"]

CANDLES = [
    {"o": 150.20, "h": 150.80, "l": 150.10, "c": 150.70, "v": 1_200_000, "timestamp": 1_733_000_000, "sym": "AAPL"},
    {"o": 150.70, "h": 151.10, "l": 150.60, "c": 150.95, "v": 900_000, "timestamp": 1_733_000_060, "sym": "AAPL"},
    {"o": 150.95, "h": 151.40, "l": 150.90, "c": 151.30, "v": 1_500_000, "timestamp": 1_733_000_120, "sym": "AAPL"},
    {"o": 151.30, "h": 151.80, "l": 151.20, "c": 151.75, "v": 1_100_000, "timestamp": 1_733_000_180, "sym": "AAPL"},
    {"o": 151.75, "h": 152.10, "l": 151.60, "c": 152.00, "v": 1_300_000, "timestamp": 1_733_000_240, "sym": "AAPL"},
]

# of each type of session, minute by minute; the numbers are those of a small emergency
ROWS = {
    "ohlcv": CANDLES,
    "iot": [
        {"sid": "boiler", "val": 71.25, "lo": 60, "hi": 85, "timestamp": 1_733_000_000},
        {"sid": "pump 3", "val": 3.5, "lo": 2, "hi": 4, "timestamp": 1_733_000_000},
        {"sid": "boiler", "val": 91.5, "lo": 60, "hi": 85, "timestamp": 1_733_000_060},
    ],
    "spatial": [
        {"x": 0, "y": 0, "z": 0, "spd": 5, "hdg": 350, "timestamp": 1_733_000_000},
        {"x": 3, "y": 4, "z": 0, "spd": 7.5, "hdg": 10, "timestamp": 1_733_000_002},
        {"x": 3, "y": 4, "z": 12, "spd": 2.5, "hdg": 10, "timestamp": 1_733_000_003},
    ],
    "event": [
        {"src": "db-1", "sev": 4, "cat": "disk full", "cnt": 2, "timestamp": 1_733_000_000},
        {"src": "web", "sev": 1, "cat": "login", "cnt": 17, "timestamp": 1_733_000_001},
        {"src": "db-1", "sev": 5, "cat": "disk full", "cnt": 16},
    ],
    "vitals": [
        {"hr": 72, "bp_s": 120, "bp_d": 80, "spo2": 98.5, "temp": 36.8, "timestamp": 1_733_000_000},
        {"hr": 104, "bp_s": 132, "bp_d": 90, "spo2": 89, "temp": 38.0, "timestamp": 1_733_000_060},
        {"hr": 110, "bp_s": 120, "bp_d": 75, "spo2": 91, "temp": 38.5, "timestamp": 1_733_000_120},
    ],
}
STATS = {
    "ohlcv": {
        "type": "ohlcv", "count": 5, "max_high": 152.1, "max_high_index": 4, "min_low": 150.1, "min_low_index": 0,
        "max_volume": 1_500_000.0, "first_open": 150.2, "last_close": 152.0, "avg_close": 151.34,
        "change": 152.0 - 150.2, "change_pct": 100 * (152.0 - 150.2) / 150.2,
    },
    "iot": {
        "type": "iot", "count": 3, "last_sensor": "boiler", "last_value": 91.5, "min_value": 3.5, "max_value": 91.5,
        "avg_value": 166.25 / 3, "threshold_breaches": 1, "breach_rate": 1 / 3,
    },
    "spatial": {
        "type": "spatial", "count": 3, "current_position": {"x": 3.0, "y": 4.0, "z": 12.0}, "current_speed": 2.5,
        "current_heading": 10.0, "total_distance": 17.0, "max_speed": 7.5, "avg_speed": 5.0, "max_turn_rate": 10.0,
    },
    "event": {
        "type": "event", "count": 3, "total_event_count": 35, "max_severity": 5, "critical_events": 2,
        "unique_sources": 2, "unique_categories": 2, "top_category": "disk full", "top_category_count": 18,
    },
    "vitals": {
        "type": "vitals", "count": 3, "current": {"hr": 110.0, "bp": "120/75", "spo2": 91.0, "temp": 38.5, "map": 90.0},
        "avg_heart_rate": 286 / 3, "avg_map": (280 / 3 + 104 + 90) / 3, "min_spo2": 89.0, "max_temp": 38.5,
        "alerts": {
            "tachycardia_episodes": 1, "bradycardia_episodes": 0, "hypoxia_episodes": 1, "fever_episodes": 1,
        },
    },
}  # fmt: skip


@pytest.fixture(scope="session")
def tiny_engine(make_tiny_model: Callable[..., Path]) -> Iterator[Engine]:
    """An engine over a random model of two layers, 2,048 tokens of context."""
    with Engine(make_tiny_model(n_ctx=2048), kv_memory="64M", n_threads=1) as engine:
        yield engine


@contextmanager
def running(app: Starlette) -> Iterator[str]:
    """Serve an app from a thread; yields its URL."""
    with listen("127.0.0.1", 0) as bound:
        server = uvicorn.Server(uvicorn.Config(app, lifespan="on", **SERVER_OPTIONS))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
        thread.start()
        try:
            eventually(lambda: server.started)
            yield f"http://127.0.0.1:{bound.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def eventually(condition: Callable[[], object], *, seconds: float = 20.0) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not so within {seconds} s: {condition}"
        time.sleep(0.005)


def push(http: httpx.Client, session: str, rows: list[dict[str, object]] = CANDLES) -> dict[str, Any]:
    """Push as the clients of the first generation do, waiting included; returns the acknowledgement."""
    ack: dict[str, Any] = http.post(f"{session}/stream/push", json={"data": rows}).json()

    def resident() -> bool:
        status = http.get(f"{session}/stream/status").json()
        processed: int = status["statistics"]["items_processed"]
        return status["streaming"]["queue_size"] == 0 and processed >= ack["total_enqueued"]

    eventually(resident)
    return ack
