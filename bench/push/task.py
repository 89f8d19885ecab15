"""The push task: candles on their way into a session's ring, as an array and as the JSON body of a request."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from bench.session.task import candles
from kvtape.engine import AsyncSequence
from kvtape.ring import RingBuffer
from kvtape.session.context import LiveContext
from kvtape.session.row_types import ROW_TYPES
from kvtape.session.rows import NameTables, parse_rows

__all__ = ["Push", "make_push", "timed"]

CAPACITY = 16_384


@dataclass(frozen=True)
class Push:
    """One push of the same rows in each of its forms, and where it goes; `context` has no engine behind it."""

    rows: np.ndarray[Any, Any]  # [n] of candles
    body: bytes
    ring: RingBuffer
    context: LiveContext


def make_push(n_rows: int) -> Push:
    """Make a push of `n_rows` candles of one symbol."""
    data = [{**row, "sym": "AAPL"} for row in candles(n_rows)]

    def nothing() -> None:
        pass

    row_type = ROW_TYPES["ohlcv"]
    context = LiveContext(
        cast(AsyncSequence, None), 1, row_type, on_rows=nothing, on_change=nothing, on_settled=nothing, now=time.time
    )
    context.names["sym"].extend(["AAPL"])
    body = json.dumps({"data": data}).encode()
    rows = parse_rows(row_type, data, NameTables(row_type))
    return Push(rows, body, RingBuffer(row_type.dtype, CAPACITY), context)


def timed(push: Push, ring: RingBuffer, job: Callable[[], object], n_times: int) -> float:
    """Return the seconds of one push by `job` into `ring`, the mean of `n_times`; what is taken out is compared."""
    spent = 0
    for _ in range(n_times):
        began = time.perf_counter_ns()
        job()
        spent += time.perf_counter_ns() - began
        if not np.array_equal(ring.pop(CAPACITY), push.rows):
            raise RuntimeError("the ring holds other rows than were pushed")
    return spent / n_times / 1e9
