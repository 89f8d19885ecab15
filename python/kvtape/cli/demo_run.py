"""What the demo does: real candles through a real server, one by one, and the clock beside it.

Everything is measured from the client's side of a loopback connection, as any user of the server would see it.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from kvtape.cli.demo_view.results import Answer, Candle, DemoResult, Question, Step
from kvtape.protocols.layerscale import models

if TYPE_CHECKING:
    from kvtape.client.layerscale import AsyncEvents, AsyncLayerScale, FlashQuery

__all__ = ["PROMPT", "QUERIES", "QUESTIONS", "play"]

PROMPT = "You read daily stock candles and answer questions about them in a few words."
QUERIES = ("Is the price rising or falling?", "Buy, hold or sell?", "Is the risk low or high?")
QUESTIONS = ("What was the last closing price?", "Describe the trend of the last days in one sentence.")
FLASH_TOKENS = 8
ANSWER_TOKENS = 16
PATIENCE = 60.0  # seconds until a step counts as stuck


def to_candle(row: Any) -> Candle:
    """Return one row of OHLCV by its fields' names in the protocol."""
    o, h, low, c, v = (float(row[name]) for name in "ohlcv")
    return Candle(timestamp=int(row["timestamp"]), o=o, h=h, l=low, c=c, v=v)


class EventLog:
    """The events of a session with their time of arrival, from a stream that is read in the background."""

    def __init__(self, events: AsyncEvents) -> None:
        self._events = events
        self.connected = asyncio.Event()
        self._resident: dict[int, float] = {}
        self._answers: dict[int, dict[str, tuple[float, Answer]]] = {}
        self._news = asyncio.Condition()

    async def read(self) -> None:
        """Read until the stream ends."""
        async with contextlib.aclosing(self._events) as events:
            async for event in events:
                now = time.perf_counter()
                async with self._news:
                    match event:
                        case models.Connected():
                            self.connected.set()
                        case models.DataUpdated():
                            self._resident[event.data_version] = now
                        case models.FlashReady():
                            answer = Answer(text=event.value, confidence=event.confidence, version=event.data_version)
                            self._answers.setdefault(event.data_version, {})[event.query] = (now, answer)
                    self._news.notify_all()

    async def resident_at(self, version: int) -> float:
        """Wait for the version; returns when its data was resident."""
        await self._until(lambda: version in self._resident)
        return self._resident[version]

    async def answers_of(self, version: int, n_queries: int) -> tuple[float, dict[str, Answer]]:
        """Wait for all flash answers of a version; returns when the last came, and the answers by query."""
        await self._until(lambda: len(self._answers.get(version, {})) == n_queries)
        found = self._answers.pop(version)
        return max(at for at, _ in found.values()), {query: answer for query, (_, answer) in found.items()}

    async def _until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE), self._news:
            await self._news.wait_for(condition)


async def play(
    client: AsyncLayerScale,
    candles: np.ndarray,
    result: DemoResult,
    *,
    n_history: int,
    show: Callable[[str], None],
) -> None:
    """Push the first `n_history` candles at once and the others one by one, then ask; fills `result`.

    `show` is told what is going on, after each step too.
    """
    flash: list[FlashQuery] = [{"query": query, "max_tokens": FLASH_TOKENS} for query in result.queries]
    session = await client.sessions.create(type="ohlcv", prompt=PROMPT, flash=flash, mark_prefix=True)
    session_id = session.session_id
    log = EventLog(client.sessions.events(session_id))
    reader = asyncio.create_task(log.read())
    try:
        await log.connected.wait()
        version = 0
        if n_history:
            show(f"prefilling {n_history} candles of history")
            version = 1
            await push_history(client, session_id, log, candles[:n_history], result)
        for row in candles[n_history:]:
            version += 1
            pushed = time.perf_counter()
            await client.sessions.push(session_id, [asdict(to_candle(row))])
            resident = await log.resident_at(version)
            ready, answers = await log.answers_of(version, len(result.queries))
            result.steps.append(
                Step(
                    candle=to_candle(row),
                    version=version,
                    push_to_resident_ms=(resident - pushed) * 1e3,
                    resident_to_flash_ms=(ready - resident) * 1e3,
                    answers=answers,
                )
            )
            show("")
        for text in QUESTIONS:
            show(f"asking: {text}")
            result.questions.append(await ask_twice(client, session_id, text, result))
    finally:
        reader.cancel()
        await asyncio.wait({reader})
        await client.sessions.delete(session_id)


async def push_history(
    client: AsyncLayerScale, session_id: str, log: EventLog, candles: np.ndarray, result: DemoResult
) -> None:
    """Push a batch and take the speed of prefill from it."""
    before = (await client.sessions.get(session_id)).tokens
    started = time.perf_counter()
    await client.sessions.push(session_id, [asdict(to_candle(row)) for row in candles])
    resident = await log.resident_at(1)
    n_tokens = (await client.sessions.get(session_id)).data_end - before
    result.prefill_tokens_per_s = n_tokens / (resident - started)
    await log.answers_of(1, len(result.queries))


async def ask_twice(client: AsyncLayerScale, session_id: str, text: str, result: DemoResult) -> Question:
    """Ask the live session, then send the whole context again with the same question, as a stateless client must."""
    context = await client.sessions.state(session_id)
    started = time.perf_counter()
    times = []
    answer: Any = None
    async for piece in client.sessions.generate_stream(session_id, text, max_tokens=ANSWER_TOKENS, fast_answer=False):
        times.append(time.perf_counter())
        answer = piece  # the last one is the whole answer
    live_ms = (times[-1] - started) * 1e3
    if answer.n_tokens > 2:
        result.decode_tokens_per_s = (answer.n_tokens - 1) / (times[-1] - times[0])

    # Another first line each time, so that the server's prefix cache cannot help: that is what the comparison is about.
    system = {"role": "system", "content": f"{time.time_ns()}\n{PROMPT}"}
    user = {"role": "user", "content": f"{context.context_text}\n{text}"}
    started = time.perf_counter()
    await client.chat.create([system, user], max_tokens=max(1, answer.n_tokens), temperature=0.0)
    return Question(
        text=text,
        answer=answer.text,
        live_ms=live_ms,
        resend_ms=(time.perf_counter() - started) * 1e3,
        context_tokens=context.data_end,
    )
