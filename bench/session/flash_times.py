"""From a push to `data_updated` and to the answers of flash queries; hits of one session beside another's round."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from bench.session.task import QUERIES, SessionClient, candles
from bench.session.wire import Http, message

__all__ = ["measure"]

CONTEXTS = (155, 300)  # candles there before answers are timed
COUNTS = (0, 1, 4, 16)  # queries
N_PUSHES = 5
HIT_SECONDS = 5.0


def measure(url: str, ready: Callable[[str], None]) -> dict[str, Any]:
    """Return seconds by candles and number of queries."""
    found: dict[str, Any] = {}
    for n_rows in CONTEXTS:
        clients = {n: _filled(url, n, n_rows) for n in COUNTS}
        ready(f"flash at {n_rows} candles")
        for n, client in clients.items():
            times = found[f"{n_rows} candles, {n} queries"] = _rounds(client, n, n_rows)
            for name, seconds in times.items():
                low, middle, high = np.quantile(seconds, [0.25, 0.5, 0.75]) * 1e3
                print(f"  {n_rows} candles, {n:2} queries, push {name:15}{middle:8.1f} ({low:.1f} .. {high:.1f}) ms")
        if n_rows == CONTEXTS[0]:
            found["hits beside a round"] = _hits(url, clients[max(COUNTS)], n_rows + N_PUSHES)
        for client in clients.values():
            client.close()
    return found


def _filled(url: str, n_queries: int, n_rows: int) -> SessionClient:
    client = SessionClient(url, n_queries=n_queries)
    client.push(candles(n_rows))
    client.flash_ready(client.resident(n_rows).data["data_version"], n_queries)
    return client


def _rounds(client: SessionClient, n_queries: int, n_rows: int) -> dict[str, list[float]]:
    """Push a candle, wait for all answers, and again."""
    rows = candles(n_rows + N_PUSHES)
    times: dict[str, list[float]] = {"to data_updated": []}
    for i in range(n_rows, len(rows)):
        sent, _ = client.push([rows[i]])
        updated = client.resident(i + 1)
        times["to data_updated"].append(updated.at - sent)
        if n_queries:
            answers = client.flash_ready(updated.data["data_version"], n_queries)
            times.setdefault("to first answer", []).append(answers[0].at - sent)
            times.setdefault("to last answer", []).append(answers[-1].at - sent)
    return times


def _hits(url: str, busy: SessionClient, n_rows: int) -> list[float]:
    """Return the seconds of hits in a small session while the other's queries are evaluated."""
    small = SessionClient(url, n_queries=1)
    small.push(candles(5))
    small.flash_ready(small.resident(5).data["data_version"], 1)
    http, seconds = Http(small.port), []
    hit = message("POST", f"/v1/sessions/{small.id}/generate", {"prompt": QUERIES[0], "max_tokens": 8})
    ended = threading.Event()

    def keep_busy() -> None:
        rows = candles(n_rows + 100)
        for i in range(n_rows, len(rows)):
            if ended.is_set():
                return
            busy.push([rows[i]])
            busy.flash_ready(busy.resident(i + 1).data["data_version"], max(COUNTS))

    pusher = threading.Thread(target=keep_busy)
    pusher.start()
    end = time.perf_counter() + HIT_SECONDS
    while time.perf_counter() < end:
        took, answer = http(hit)
        if not answer.get("flash"):
            raise RuntimeError(f"no flash hit: {answer}")
        seconds.append(took)
        time.sleep(0.01)
    ended.set()
    pusher.join()
    small.close()
    p50, p99 = np.quantile(seconds, [0.5, 0.99]) * 1e3
    print(f"  flash hit beside a round of {max(COUNTS)} queries: p50 {p50:.3f}, p99 {p99:.3f} ms, n {len(seconds)}")
    return seconds
