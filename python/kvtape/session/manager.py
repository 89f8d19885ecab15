"""All live sessions of an engine, and the one task that moves what was pushed into their contexts."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from kvtape.chat.framing import Framing
from kvtape.errors import Conflict, InvalidRequest, NotFound
from kvtape.session.context import Batch
from kvtape.session.session import Session, SessionCounters
from kvtape.session.spec import OVERFLOWS, SessionSpec

if TYPE_CHECKING:
    from kvtape.engine import AsyncEngine

__all__ = ["RowTotals", "SessionManager"]

T = TypeVar("T")

log = logging.getLogger(__name__)

_SESSION_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")


@dataclass(slots=True)
class RowTotals:
    """What was pushed to sessions: accepted, and dropped by the policy of the session."""

    accepted: int = 0
    dropped: dict[str, int] = field(default_factory=lambda: dict.fromkeys(OVERFLOWS, 0))

    def add(self, session: Session) -> None:
        """Add one session's."""
        counters = session.context.counters
        self.accepted += counters.total_enqueued
        self.dropped[session.spec.policy] += counters.total_dropped


class SessionManager:
    """Creates, finds and deletes sessions.

    One task drains the ring of every session that has data, has all their texts encoded in one trip to an executor
    thread, and submits one append a session; the settling of a session delays no other.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        *,
        max_sessions: int = 256,
        idle_seconds: float = 3600.0,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.totals = SessionCounters()
        self._rows_gone = RowTotals()  # of the sessions that are deleted
        self.max_sessions = max_sessions
        self._engine = engine
        self._idle_seconds = idle_seconds
        self._now = now
        self._sessions: dict[str, Session] = {}
        self._opening: set[str] = set()
        self._with_data: set[Session] = set()
        self._wake = asyncio.Event()
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="kvtape-encode")
        self._task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._sessions)

    async def create(self, spec: SessionSpec) -> Session:
        """Make a session and take in its prompt.

        Raises:
            Conflict: as many sessions are live as may be, or there is one with this id.
            InvalidRequest: the specification cannot be honoured.
        """
        if len(self._sessions) + len(self._opening) >= self.max_sessions:
            raise Conflict(f"{self.max_sessions} sessions are live, the most this server holds; delete one first")
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())
        session_id = self._new_id(spec.id)
        self._opening.add(session_id)
        try:
            framing = await asyncio.to_thread(
                Framing, self._engine.model, spec.prompt, now=self._now(), asks_in_turns=spec.wire == 2
            )
            session = self._open(session_id, spec, framing)
            try:
                await session.begin()
            except BaseException:
                await session.close()
                raise
        finally:
            self._opening.discard(session_id)
        self._sessions[session.id] = session
        return session

    def _new_id(self, chosen: str | None) -> str:
        if chosen is None:
            return f"sess_{secrets.token_hex(6)}"
        _check_id(chosen, "id")
        if chosen in self._sessions or chosen in self._opening:
            raise Conflict(f"there is a session {chosen!r} already")
        return chosen

    def _open(self, session_id: str, spec: SessionSpec, framing: Framing) -> Session:
        return Session(
            session_id, spec, self._engine, framing, totals=self.totals, on_data=self._on_data, now=self._now
        )

    def get(self, session_id: str) -> Session:
        """Find a session.

        Raises:
            InvalidRequest: the id is malformed.
            NotFound: there is no such session.
        """
        _check_id(session_id, "session_id")
        session = self._sessions.get(session_id)
        if session is None:
            raise NotFound(f"there is no session {session_id!r}")
        return session

    def row_totals(self) -> RowTotals:
        """Return what was pushed to all sessions there have been."""
        totals = RowTotals(self._rows_gone.accepted, dict(self._rows_gone.dropped))
        for session in self._sessions.values():
            totals.add(session)
        return totals

    def live(self) -> list[Session]:
        """Return the live sessions, oldest first."""
        return sorted(self._sessions.values(), key=lambda session: (session.created, session.id))

    async def delete(self, session_id: str) -> None:
        """Delete a session and all it holds.

        Raises:
            Conflict: a question is being answered.
            NotFound: there is no such session.
        """
        session = self.get(session_id)
        if session.busy:
            raise Conflict(f"session {session_id} is busy with another request")
        await self._remove(session)

    async def aclose(self) -> None:
        """Delete every session and stop the ingest task."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        for session in self.live():
            await self._remove(session)
        self._executor.shutdown(wait=False, cancel_futures=True)

    async def _remove(self, session: Session) -> None:
        if self._sessions.pop(session.id, None) is not None:  # else somebody else is at it
            self._with_data.discard(session)
            self._rows_gone.add(session)
            await session.close()

    def _on_data(self, session: Session) -> None:
        self._with_data.add(session)
        self._wake.set()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        period = min(30.0, self._idle_seconds / 4)
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(period):
                    await self._wake.wait()
            self._wake.clear()
            await asyncio.sleep(0)  # acknowledgements go out before the work on what they acknowledge begins
            await self._expire()
            batches = [
                (session, batch) for session in self._with_data if (batch := _guarded(session, _take)) is not None
            ]
            self._with_data.clear()  # a session that was still settling reports again when it has
            if batches:
                encoded = await loop.run_in_executor(self._executor, self._encode, [batch for _, batch in batches])
                for (session, batch), token_ids in zip(batches, encoded, strict=True):
                    _guarded(session, partial(_submit, batch=batch, token_ids=token_ids))

    def _encode(self, batches: list[Batch]) -> list[tuple[list[int], list[list[int]]]]:
        texts = [text for batch in batches for text in (batch.header, *batch.texts)]
        encoded = iter(self._engine.model.tokenizer.encode_many(texts))  # the event loop runs meanwhile
        return [(next(encoded), [next(encoded) for _ in batch.texts]) for batch in batches]

    async def _expire(self) -> None:
        oldest = self._now() - self._idle_seconds
        for session in self.live():
            if session.last_used < oldest and session.idle:
                await self._remove(session)


def _check_id(session_id: str, param: str) -> None:
    if not _SESSION_ID.fullmatch(session_id):
        raise InvalidRequest("a session id has 1 to 128 characters of A-Z, a-z, 0-9, _ and -", param=param)


def _take(session: Session) -> Batch | None:
    return session.context.take_batch()


def _submit(session: Session, batch: Batch, token_ids: tuple[list[int], list[list[int]]]) -> None:
    session.context.submit(batch, *token_ids)


def _guarded(session: Session, step: Callable[[Session], T]) -> T | None:
    """Run one session's step; its fault stops that session and no other."""
    try:
        return step(session)
    except Exception as error:
        log.exception("session %s stopped taking in data", session.id)
        session.context.turns.fail(error)
        return None
