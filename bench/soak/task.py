"""The soak's load: sessions that come and go, rows that flow into them, readers that break off and come back.

What must hold is checked as it happens: each push is acknowledged in full, a session's own counts are those of its
client, and the numbers of its events leave nothing out, over any number of connections.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

__all__ = ["Load", "Spec"]

QUERIES = tuple(f"{question} One word." for question in ("Up or down?", "Calm?", "A new high?", "Buy or sell?"))
FLASH_TOKENS = 4
PATIENCE = 300.0  # seconds: the machine may be busy, what never comes is a fault
SOCKET_OPTIONS: dict[str, Any] = {
    "compression": None,
    "ping_interval": None,
    "open_timeout": PATIENCE,
}  # the server pings


@dataclass(frozen=True)
class Spec:
    """How much of what."""

    n_sessions: int = 64
    rows_per_second: float = 20.0  # of each session
    rows_per_push: int = 10
    window: int = 600  # tokens
    most_pending: int = 80  # rows of a session; above it pushes are held back, or a busy machine would only queue
    session_seconds: float = 90.0  # that a session lives, in the mean
    reader_seconds: float = 15.0  # that a reader stays, in the mean
    question_seconds: float = 20.0  # between questions to one session, in the mean


@dataclass
class Counts:
    """A session's rows as its client counts them."""

    n_sent: int = 0
    n_pushed: int = 0
    n_dropped: int = 0


@dataclass
class Load:
    """Everything that clients do to one server."""

    url: str
    spec: Spec
    seen: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    push_seconds: list[float] = field(default_factory=list)
    total: Counts = field(default_factory=Counts)
    ending: bool = False

    def __post_init__(self) -> None:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=self.spec.n_sessions)
        self.http = httpx.AsyncClient(base_url=self.url, timeout=PATIENCE, limits=limits)

    async def run(self) -> None:
        """Keep `n_sessions` sessions alive until `ending` is set, then settle and delete them."""
        async with self.http, asyncio.TaskGroup() as group:
            for index in range(self.spec.n_sessions):
                group.create_task(self._keep_one_alive(index))

    async def _keep_one_alive(self, index: int) -> None:
        while not self.ending:
            try:
                await _Session(self, index).live()
            except (httpx.HTTPError, OSError, TimeoutError, ConnectionClosed, ValueError, KeyError) as error:
                where = getattr(getattr(error, "_request", None), "url", "")
                self.problems.append(f"session {index}: {type(error).__name__} {error} {where}")
                await asyncio.sleep(1)


class _Session:
    def __init__(self, load: Load, index: int) -> None:
        self.load, self.spec, self.http = load, load.spec, load.http
        self.random = random.Random(f"{index} {time.time_ns()}")
        self.has_rows = index % 4 != 3  # every fourth is one of texts
        self.push_by_socket, self.read_by_socket = index % 4 in (1, 2), index % 2 == 1
        self.counts = Counts()
        self.id = ""
        self.deleted = False
        self.price = 100.0
        self.last_number: int | None = None

    async def live(self) -> None:
        """From creation to deletion."""
        await self._create()
        reader = asyncio.create_task(self._read())
        try:
            await self._push_for(self.random.expovariate(1 / self.spec.session_seconds))
            if self.load.ending or self.random.random() < 0.5:
                await self._check_settled()
            else:
                await self._check(await self._status())
        finally:
            self.deleted = True
            await self._call("DELETE", "")
            self.load.seen["sessions deleted"] += 1
            async with asyncio.timeout(PATIENCE):
                await reader
        total, counts = self.load.total, self.counts
        total.n_sent += counts.n_sent
        total.n_pushed += counts.n_pushed
        total.n_dropped += counts.n_dropped

    async def _create(self) -> None:
        if self.has_rows:
            flash = [{"query": query, "max_tokens": FLASH_TOKENS} for query in QUERIES]
            body = {"type": "ohlcv", "prompt": "Watch.", "window_size": self.spec.window, "flash": flash}
            self.id = (await self._post("/v1/sessions/init", body))["session_id"]
        else:
            self.id = (await self._post("/v1/sessions", {"window": self.spec.window}))["id"]
            for query in QUERIES:
                await self._post(f"/v1/sessions/{self.id}/flash", {"query": query, "max_tokens": FLASH_TOKENS})
        self.load.seen["sessions created"] += 1

    # -- data --------------------------------------------------------------------------------------------------------

    async def _push_for(self, seconds: float) -> None:
        spec, begin = self.spec, time.monotonic()
        period, due = spec.rows_per_push / spec.rows_per_second, begin + self.random.random()
        question_due = begin + self.random.expovariate(1 / spec.question_seconds)
        if self.push_by_socket:
            async with _PushSocket(self._socket_url()) as socket:
                await self._push_all(begin + seconds, due, period, question_due, socket)
        else:
            await self._push_all(begin + seconds, due, period, question_due, None)

    async def _push_all(
        self, end: float, due: float, period: float, question_due: float, socket: _PushSocket | None
    ) -> None:
        n_pending = 0
        while not self.load.ending and (now := time.monotonic()) < end:
            await asyncio.sleep(max(0.0, due - now))
            due = max(due + period, time.monotonic() - 1)  # who is late catches up a second of it
            if n_pending > self.spec.most_pending:
                self.load.seen["pushes held back"] += 1
                n_pending = (await self._status())["streaming"]["queue_size"]
                continue
            data = [self._row() for _ in range(self.spec.rows_per_push)]
            began = time.perf_counter()
            if socket is None:
                route = "stream/push" if self.has_rows else "push"
                ack = await self._post(f"/v1/sessions/{self.id}/{route}", {"data": data})
            else:
                ack = await socket.push(data)
            self.load.push_seconds.append(time.perf_counter() - began)
            self.counts.n_sent += len(data)
            self.counts.n_pushed += ack["pushed"]
            self.counts.n_dropped += ack["dropped"]
            n_pending = ack["pending"]
            if time.monotonic() > question_due:
                question_due += self.random.expovariate(1 / self.spec.question_seconds)
                await self._ask()

    def _row(self) -> dict[str, float] | str:
        opened, self.price = self.price, max(1.0, self.price * (1 + self.random.gauss(0, 0.002)))
        o, c = round(opened, 2), round(self.price, 2)
        if not self.has_rows:
            return f"tick {c}"
        return {"o": o, "h": max(o, c), "l": min(o, c), "c": c, "v": self.random.randrange(1, 10_000)}

    async def _ask(self) -> None:
        answer = await self.http.post(f"/v1/sessions/{self.id}/generate", json={"prompt": "And now?", "max_tokens": 4})
        if answer.status_code != 200:
            self.load.problems.append(f"question: {answer.status_code} {answer.text:.200}")
        self.load.seen["questions"] += 1

    # -- what the server says of it ----------------------------------------------------------------------------------

    async def _status(self) -> dict[str, Any]:
        return await self._call("GET", "/stream/status")

    async def _check_settled(self) -> None:
        """Wait until all that was accepted is processed: pushed = processed + dropped."""
        deadline = time.monotonic() + PATIENCE
        while True:
            status = await self._status()
            statistics = status["statistics"]
            if not status["streaming"]["queue_size"] and statistics["items_processed"] >= statistics["total_enqueued"]:
                break
            if time.monotonic() > deadline:
                self.load.problems.append(f"not settled in {PATIENCE:.0f} s: {status}")
                return
            await asyncio.sleep(0.1)
        await self._check(status)
        if statistics["items_processed"] != statistics["total_enqueued"]:
            self.load.problems.append(f"processed more than was accepted: {status}")
        self.load.seen["sessions settled"] += 1

    async def _check(self, status: dict[str, Any]) -> None:
        counts, statistics, streaming = self.counts, status["statistics"], status["streaming"]
        enqueued, dropped = statistics["total_enqueued"], statistics["total_dropped"]
        if streaming["error"] or not streaming["running"]:
            self.load.problems.append(f"the ingest has stopped: {status}")
        if enqueued != counts.n_pushed or dropped < counts.n_dropped or statistics["items_processed"] > enqueued:
            self.load.problems.append(f"counts differ, ours {counts}, the server's {status}")
        if self.has_rows and counts.n_sent != counts.n_pushed + counts.n_dropped:  # of texts the oldest go
            self.load.problems.append(f"sent is not pushed and dropped: {counts}")

    # -- events ------------------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        """Read events until the session is gone, on one connection after another."""
        while not self.deleted:
            stay = self.random.expovariate(1 / self.spec.reader_seconds)
            events = self._socket_events() if self.read_by_socket else self._stream_events()
            try:
                async with asyncio.timeout(stay):
                    async for name, number in events:
                        self._take(name, number)
            except TimeoutError:
                self.load.seen["readers that broke off"] += 1
                if not self.deleted:
                    continue
                async with asyncio.timeout(PATIENCE):  # the end is near, and it must come
                    async for _ in self._socket_events() if self.read_by_socket else self._stream_events():
                        pass
            except (httpx.HTTPStatusError, ConnectionClosed) as error:
                if not self.deleted:
                    self.load.problems.append(f"reader: {error}")
            else:
                self.load.seen["streams that ended"] += not self.deleted

    def _take(self, name: str, number: int | None) -> None:
        self.load.seen[f"{name} events"] += 1
        if number is None:
            return  # an answer that is repeated to a new reader
        last = self.last_number
        expected = {None, last} if name == "connected" else {None if last is None else last + 1}
        if last is not None and number not in expected:
            self.load.problems.append(f"event {number} ({name}) after {last}")
        self.last_number = number

    async def _stream_events(self) -> AsyncIterator[tuple[str, int | None]]:
        headers = {} if self.last_number is None else {"last-event-id": str(self.last_number)}
        url = f"/v1/sessions/{self.id}/events"
        async with self.http.stream("GET", url, headers=headers) as response:
            if response.status_code != 404 or not self.deleted:
                response.raise_for_status()
            name, number = "", None
            async for line in response.aiter_lines():
                key, _, value = line.partition(": ")
                if key == "event":
                    name = value
                elif key == "id":
                    number = int(value)
                elif not line and name:
                    yield name, number
                    name, number = "", None

    async def _socket_events(self) -> AsyncIterator[tuple[str, int | None]]:
        after = "" if self.last_number is None else f"?last_event_id={self.last_number}"
        try:
            async with connect(self._socket_url() + after, **SOCKET_OPTIONS) as socket:
                async for message in socket:
                    event = json.loads(message)
                    yield event["type"], event.get("id")
        except Exception as error:
            if not (self.deleted and "404" in str(error)):
                raise

    # -- transport ---------------------------------------------------------------------------------------------------

    def _socket_url(self) -> str:
        return f"ws{self.load.url.removeprefix('http')}/v1/sessions/{self.id}/ws"

    async def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        return _read_json(await self.http.post(path, json=body))

    async def _call(self, method: str, path: str) -> dict[str, Any]:
        return _read_json(await self.http.request(method, f"/v1/sessions/{self.id}{path}"))


class _PushSocket:
    """A socket to push by; the events that come on it as well are let pass."""

    def __init__(self, url: str) -> None:
        self._connection = connect(url, **SOCKET_OPTIONS)
        self._answers: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def __aenter__(self) -> _PushSocket:
        self._socket = await self._connection.__aenter__()
        self._reader = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *error: Any) -> None:
        await self._connection.__aexit__(*error)
        await self._reader

    async def push(self, data: list[Any]) -> dict[str, Any]:
        await self._socket.send(json.dumps({"type": "push", "data": data}))
        answer = await self._answers.get()
        if answer["type"] != "push_ack":
            raise ValueError(f"push: {answer}")
        return dict(answer["data"])

    async def _read(self) -> None:
        async for text in self._socket:
            message = json.loads(text)
            if message["type"] in ("push_ack", "error"):
                self._answers.put_nowait(message)
        self._answers.put_nowait({"type": "end"})


def _read_json(response: httpx.Response) -> dict[str, Any]:
    if response.is_error:
        raise ValueError(f"{response.request.url.path}: {response.status_code} {response.text:.300}")
    return dict(response.json())
