"""The fairness task: sessions that push rows at a steady rate, and how long each row waits until it is settled.

No server in between: what is timed is the way from `Session.push` to the data version that has the row.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

import numpy as np

from bench.session.task import FLASH_TOKENS, PROMPT, QUERIES, candles
from kvtape.engine import AsyncEngine
from kvtape.session.manager import SessionManager
from kvtape.session.row_types import ROW_TYPES
from kvtape.session.rows import NameTables, parse_rows
from kvtape.session.session import Session
from kvtape.session.spec import FlashSpec, SessionSpec

__all__ = ["Load", "Waits", "push_all"]

N_ROWS = 1_000  # different ones


@dataclass(frozen=True)
class Load:
    """How much of what."""

    n_sessions: int
    rows_per_second: float = 20.0  # of each session
    seconds: float = 15.0
    window: int = 600  # tokens
    n_queries: int = 0
    one_chats: bool = False  # a long answer beside it


@dataclass
class Waits:
    """Seconds from push to settled, of each session; and what the engine did in the time."""

    of: list[list[float]]
    n_pushed: int = 0
    n_settled: int = 0  # of those in time
    n_chat_tokens: int = 0
    n_steps: int = 0
    chat_gaps: list[float] = field(default_factory=list)


async def push_all(engine: AsyncEngine, load: Load) -> Waits:
    """Run the load; sessions begin spread over one period."""
    rows = parse_rows(ROW_TYPES["ohlcv"], candles(N_ROWS), NameTables(ROW_TYPES["ohlcv"]))
    flash = tuple(FlashSpec(query, FLASH_TOKENS) for query in QUERIES[: load.n_queries])
    spec = SessionSpec(prompt=PROMPT, flash=flash, window=load.window)
    manager, waits = SessionManager(engine), Waits([[] for _ in range(load.n_sessions)])
    try:
        sessions = [await manager.create(spec) for _ in range(load.n_sessions)]
        for session in sessions:  # the prompt, and what comes before the first row
            session.push(rows[:1])
            await session.context.caught_up()
        n_steps, end = engine.stats().steps, time.monotonic() + load.seconds
        async with asyncio.TaskGroup() as group:
            for index, session in enumerate(sessions):
                group.create_task(_push(session, rows, index, load, end, waits))
            if load.one_chats:
                group.create_task(_chat(engine, end, waits))
        waits.n_steps = engine.stats().steps - n_steps
    finally:
        await manager.aclose()
    return waits


async def _push(session: Session, rows: np.ndarray, index: int, load: Load, end: float, waits: Waits) -> None:
    period = 1 / load.rows_per_second
    due = time.monotonic() + period * index / load.n_sessions
    settling: set[asyncio.Task[None]] = set()
    n_pushed = 0
    while due < end:
        await asyncio.sleep(due - time.monotonic())
        n_pushed += 1
        session.push(rows[n_pushed % N_ROWS :][:1])
        task = asyncio.create_task(_settled(session, due, waits.of[index]))
        settling.add(task)
        task.add_done_callback(settling.discard)
        due += period
    waits.n_pushed += n_pushed
    waits.n_settled += len(waits.of[index])
    await asyncio.gather(*settling)


async def _settled(session: Session, due: float, waits: list[float]) -> None:
    await session.context.caught_up()
    waits.append(time.monotonic() - due)


async def _chat(engine: AsyncEngine, end: float, waits: Waits) -> None:
    while (now := time.monotonic()) < end:
        sequence = engine.open()
        sequence.append(PROMPT)
        async for _ in sequence.generate(max_tokens=engine.n_ctx // 2, ignore_eos=True, speculate=False):
            last, now = now, time.monotonic()
            waits.n_chat_tokens += 1
            waits.chat_gaps.append(now - last)
            if now >= end:
                break
        sequence.close()
