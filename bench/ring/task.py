"""Move rows from one thread to another: rows a second, and the one-way latency of single rows.

A contender is a class with push(rows) and pop() -> list of row arrays; see the files beside this one.
"""

from __future__ import annotations

import threading
import time
from typing import Any, Protocol

import numpy as np

ROW = np.dtype(
    [("timestamp", "<i8"), ("o", "<f8"), ("h", "<f8"), ("l", "<f8"), ("c", "<f8"), ("v", "<f8"), ("sym", "<u8")]
)


class Contender(Protocol):
    name: str

    def push(self, rows: np.ndarray[Any, Any]) -> None: ...
    def pop(self) -> list[np.ndarray[Any, Any]]: ...


def _consume(queue: Contender, n_rows: int, seen: list[tuple[int, np.ndarray[Any, Any]]]) -> None:
    n = 0
    while n < n_rows:
        for rows in queue.pop():
            seen.append((time.perf_counter_ns(), rows))
            n += len(rows)


def _check(seen: list[tuple[int, np.ndarray[Any, Any]]], n_rows: int) -> None:
    found = np.concatenate([rows["sym"] for _, rows in seen])
    if not np.array_equal(found, np.arange(n_rows)):
        raise SystemExit("rows lost, doubled or out of order")


def rows_per_second(queue: Contender, n_rows: int, batch: int) -> float:
    """Push n_rows in batches from one thread, pop them in another."""
    rows = np.zeros(n_rows, ROW)
    rows["sym"] = np.arange(n_rows)
    seen: list[tuple[int, np.ndarray[Any, Any]]] = []
    consumer = threading.Thread(target=_consume, args=(queue, n_rows, seen))
    consumer.start()
    start = time.perf_counter_ns()
    for i in range(0, n_rows, batch):
        queue.push(rows[i : i + batch])
    consumer.join()
    _check(seen, n_rows)
    return n_rows / (seen[-1][0] - start) * 1e9


def latency_us(queue: Contender, n_rows: int, gap_s: float = 0.0005) -> np.ndarray[Any, Any]:
    """One-way time of each of n_rows single rows, sent gap_s apart, in microseconds."""
    seen: list[tuple[int, np.ndarray[Any, Any]]] = []
    consumer = threading.Thread(target=_consume, args=(queue, n_rows, seen))
    consumer.start()
    for i in range(n_rows):
        time.sleep(gap_s)
        row = np.zeros(1, ROW)
        row["sym"] = i
        row["timestamp"] = time.perf_counter_ns()
        queue.push(row)
    consumer.join()
    _check(seen, n_rows)
    return np.array([at - int(row["timestamp"]) for at, rows in seen for row in rows]) / 1e3
