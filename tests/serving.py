"""A server on a loopback port for tests, and the engine of a tiny model to put behind it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import uvicorn
from starlette.applications import Starlette

from kvtape import Engine
from kvtape.server.serving import SERVER_OPTIONS, listen

__all__ = ["CANDLES", "eventually", "running", "tiny_engine"]

CANDLES = [
    {"o": 150.20, "h": 150.80, "l": 150.10, "c": 150.70, "v": 1_200_000, "timestamp": 1_733_000_000, "sym": "AAPL"},
    {"o": 150.70, "h": 151.10, "l": 150.60, "c": 150.95, "v": 900_000, "timestamp": 1_733_000_060, "sym": "AAPL"},
    {"o": 150.95, "h": 151.40, "l": 150.90, "c": 151.30, "v": 1_500_000, "timestamp": 1_733_000_120, "sym": "AAPL"},
    {"o": 151.30, "h": 151.80, "l": 151.20, "c": 151.75, "v": 1_100_000, "timestamp": 1_733_000_180, "sym": "AAPL"},
    {"o": 151.75, "h": 152.10, "l": 151.60, "c": 152.00, "v": 1_300_000, "timestamp": 1_733_000_240, "sym": "AAPL"},
]


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
