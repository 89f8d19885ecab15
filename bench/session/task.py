"""The session task: candles, questions, and a client that notes when things happen, over the real HTTP server."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np

__all__ = ["PROMPT", "QUERIES", "QUESTION", "Event", "SessionClient", "candles", "running_server"]

PROMPT = "You watch daily candles of one stock and answer questions about them in a few words."
QUESTION = "Did the last close rise or fall? Answer with one word."
QUERIES = tuple(
    f"{question} Answer with one word."
    for question in (
        "Is the trend up or down?", "Is volume rising?", "Is the last close above the last open?", "Is it volatile?",
        "Is there a gap?", "Was the last day a new high?", "Was the last day a new low?", "Buy, sell or hold?",
        "Is momentum positive?", "Is the range widening?", "Did the week close higher?", "Is the market calm?",
        "Is support holding?", "Is resistance near?", "Are losses accelerating?", "Is a reversal likely?",
    )
)  # fmt: skip
FLASH_TOKENS = 8  # at most, of each flash answer
START_SECONDS = 60.0
EVENT_SECONDS = 120.0


def candles(n: int, seed: int = 0) -> list[dict[str, float]]:
    """Return `n` daily candles of a random walk: prices in cents, volumes in whole shares."""
    rng = np.random.default_rng(seed)
    close = np.round(150 * np.exp(np.cumsum(rng.normal(0, 0.015, n))), 2)
    opened = np.round(close * np.exp(rng.normal(0, 0.008, n)), 2)
    high = np.round(np.maximum(opened, close) * (1 + rng.exponential(0.006, n)), 2)
    low = np.round(np.minimum(opened, close) * (1 - rng.exponential(0.006, n)), 2)
    volume = rng.integers(20_000_000, 90_000_000, n)
    return [
        {
            "o": float(o),
            "h": float(h),
            "l": float(lo),
            "c": float(c),
            "v": int(v),
            "timestamp": 1_600_000_000 + 86_400 * i,
        }
        for i, (o, h, lo, c, v) in enumerate(zip(opened, high, low, close, volume, strict=True))
    ]


@contextmanager
def running_server(model: Path, threads: int) -> Iterator[str]:
    """Run `kvtape serve` on a free loopback port and yield its URL once it is ready."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    arguments = ["serve", "--model", str(model), "--host", "127.0.0.1", "--port", str(port), "--threads", str(threads)]
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen([sys.executable, "-m", "kvtape", *arguments], stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + START_SECONDS
            while not _ready(url):
                if process.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    raise RuntimeError(f"kvtape serve is not ready:\n{log.read().decode()}")
                time.sleep(0.05)
            yield url
        finally:
            process.terminate()
            process.wait(timeout=60)


def _ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/v1/health").status_code == 200
    except httpx.TransportError:
        return False


@dataclass(frozen=True)
class Event:
    """One event of the session's stream and when it arrived, in seconds of perf_counter."""

    at: float
    name: str
    data: dict[str, Any]


class SessionClient:
    """One gen-1 session with its event stream open; closing it deletes the session."""

    def __init__(self, url: str, *, n_queries: int = 0) -> None:
        self.http = httpx.Client(base_url=url, timeout=600)
        self.port = int(url.rsplit(":", 1)[1])
        flash = [{"query": query, "max_tokens": FLASH_TOKENS} for query in QUERIES[:n_queries]]
        body = {"type": "ohlcv", "prompt": PROMPT, "flash": flash, "mark_prefix": True}
        self.id = self._post("/v1/sessions/init", body)["session_id"]
        self._events: list[Event] = []
        self._arrived = threading.Condition()
        self._reader = threading.Thread(target=self._read, args=(url,), daemon=True)
        self._reader.start()
        self.wait(lambda event: event.name == "connected")

    def close(self) -> None:
        self.http.delete(f"/v1/sessions/{self.id}").raise_for_status()
        self._reader.join(timeout=30)
        self.http.close()

    def push(self, rows: list[dict[str, float]]) -> tuple[float, float]:
        """Push rows; return when the request was sent and when it was acknowledged."""
        sent = time.perf_counter()
        answer = self._post(f"/v1/sessions/{self.id}/stream/push", {"data": rows})
        acknowledged = time.perf_counter()
        if answer["pushed"] != len(rows):
            raise RuntimeError(f"pushed {answer['pushed']} of {len(rows)} rows")
        return sent, acknowledged

    def resident(self, n_rows: int) -> Event:
        """Wait until `n_rows` rows in all are resident; return the event that said so."""
        return self.wait(lambda event: event.name == "data_updated" and event.data["data_count"] >= n_rows)

    def flash_ready(self, version: int, n_queries: int) -> list[Event]:
        """Wait until each query has its answer for `version`; return the events in order of arrival."""
        found: dict[int, Event] = {}

        def note(event: Event) -> bool:
            if event.name == "flash_ready" and event.data["data_version"] == version:
                found.setdefault(event.data["id"], event)
            return len(found) == n_queries

        self.wait(note)
        return list(found.values())

    def ask(self, question: str, max_tokens: int) -> dict[str, Any]:
        """Ask an ad-hoc question and wait for the whole answer, which has `max_tokens` tokens."""
        body = {"prompt": question, "max_tokens": max_tokens, "stream": False, "ignore_eos": True}
        return self._post(f"/v1/sessions/{self.id}/generate", body)

    def context_text(self) -> str:
        """Return the decoded context."""
        answer = self.http.get(f"/v1/sessions/{self.id}/state")
        return str(answer.raise_for_status().json()["context_text"])

    def data_end(self) -> int:
        """Return the length of the durable context in tokens."""
        return int(self.http.get(f"/v1/sessions/{self.id}").raise_for_status().json()["data_end"])

    def wait(self, wanted: Callable[[Event], bool]) -> Event:
        """Return the first event, past ones included, for which `wanted` is true."""
        deadline, seen = time.monotonic() + EVENT_SECONDS, 0
        while True:
            with self._arrived:
                while seen == len(self._events):
                    if not self._arrived.wait(deadline - time.monotonic()):
                        raise TimeoutError(f"the event did not come; the last one was {self._events[-1:]}")
                event = self._events[seen]
            seen += 1
            if wanted(event):
                return event

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        response = self.http.post(path, json=body)
        if response.is_error:
            raise RuntimeError(f"{path}: {response.status_code} {response.text}")
        return dict(response.json())

    def _read(self, url: str) -> None:
        name = ""
        with httpx.stream("GET", f"{url}/v1/sessions/{self.id}/events", timeout=None) as stream:
            for line in stream.iter_lines():
                if line.startswith("event: "):
                    name = line.removeprefix("event: ")
                elif line.startswith("data: "):
                    event = Event(time.perf_counter(), name, json.loads(line.removeprefix("data: ")))
                    with self._arrived:
                        self._events.append(event)
                        self._arrived.notify_all()
