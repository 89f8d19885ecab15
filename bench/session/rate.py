"""How many rows a second are taken in without drops: by one session, by sixteen, and by as many as may live."""

from __future__ import annotations

import time
from typing import Any

from bench.session.task import candles
from bench.session.wire import Http, message
from bench.session.wire_times import Session

__all__ = ["measure"]

COUNTS = {1: 300, 16: 20, 256: 1}  # sessions: candles each


def measure(url: str) -> dict[str, Any]:
    """Push candles one by one as fast as they are acknowledged; return rows a second until all are resident."""
    port = int(url.rsplit(":", 1)[1])
    return {str(n): _rate(port, n, n_rows) for n, n_rows in COUNTS.items()}


def _rate(port: int, n_sessions: int, n_rows: int) -> float:
    http, rows = Http(port), candles(n_rows)
    sessions = [Session(http) for _ in range(n_sessions)]
    pushes = [[message("POST", f"{session.path}/stream/push", {"data": [row]}) for session in sessions] for row in rows]
    began = time.perf_counter()
    for round_of_all in pushes:
        for push in round_of_all:
            if http(push)[1]["dropped"]:
                raise RuntimeError("a row was dropped")
    acknowledged = time.perf_counter() - began
    for session in sessions:
        session.settle(pause=0.02)  # more often would cost the model a core
    took = time.perf_counter() - began
    for session in sessions:
        session.delete()
    http.close()
    rate = n_sessions * n_rows / took
    print(f"  {n_sessions:3} sessions of {n_rows:3} candles: {rate:.0f} rows/s, acknowledged in {acknowledged:.2f} s")
    return rate
