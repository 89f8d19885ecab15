"""What lives as long as the server: the engine, its sessions, and whether new work is taken."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

from kvtape.engine import AsyncEngine, Engine
from kvtape.model.fingerprint import fingerprint
from kvtape.protocols.openai.errors import ApiError
from kvtape.session.manager import SessionManager
from kvtape.types import SamplingParams

__all__ = ["EngineSource", "Phase", "Problem", "RequestCounters", "Runtime"]

log = logging.getLogger(__name__)

EngineSource = Engine | AsyncEngine | Callable[[], AsyncEngine]


class Problem(Exception):
    """An error response that no exception of kvtape stands for."""

    def __init__(self, error: ApiError) -> None:
        super().__init__(error.message)
        self.error = error


class Phase(StrEnum):
    """Where a server is between its start and its end."""

    LOADING = "loading"
    READY = "ready"
    DRAINING = "draining"
    FAILED = "failed"


@dataclass(slots=True)
class RequestCounters:
    """Requests since the start; `n_open` is how many run now."""

    n_started: int = 0
    n_ok: int = 0
    n_failed: int = 0
    n_cancelled: int = 0
    n_open: int = 0


class Runtime:
    """Engine and sessions of one app.

    `source` is an engine, which stays its owner's to close, or a function that makes one; the function runs in a thread
    of its own while `/health` already answers, and what it made is warmed up before the server is ready.
    """

    def __init__(
        self, source: EngineSource, *, max_sessions: int, idle_seconds: float, model_name: str | None = None
    ) -> None:
        self.started = time.time()
        self.requests = RequestCounters()
        self.phase = Phase.LOADING
        self.max_sessions = max_sessions
        self._idle_seconds = idle_seconds
        self._model_name = model_name
        self._load: Callable[[], AsyncEngine] | None = None
        self._engine: AsyncEngine | None = None
        self.fingerprint = ""  # of the engine's answers, once it is there
        self._sessions: SessionManager | None = None
        self._closed = False
        if isinstance(source, Engine):
            self._adopt(AsyncEngine.wrap(source))
        elif isinstance(source, AsyncEngine):
            self._adopt(source)
        else:
            self._load = source

    def _adopt(self, engine: AsyncEngine) -> None:
        self.fingerprint = fingerprint(engine.model.path, kv_type=engine.core.kv_type)  # while the file is there
        self._engine = engine
        self._sessions = SessionManager(engine, max_sessions=self.max_sessions, idle_seconds=self._idle_seconds)
        if self.phase is Phase.LOADING:
            self.phase = Phase.READY

    @property
    def engine(self) -> AsyncEngine:
        """The engine.

        Raises:
            Problem: it is still loading, or could not be loaded.
        """
        if self._engine is None:
            raise Problem(ApiError.of_status(503, f"the server is not ready: {self.phase}"))
        return self._engine

    @property
    def sessions(self) -> SessionManager:
        """The sessions.

        Raises:
            Problem: the engine is not there yet.
        """
        if self._sessions is None:
            raise Problem(ApiError.of_status(503, f"the server is not ready: {self.phase}"))
        return self._sessions

    @property
    def model_name(self) -> str:
        """What the model is called; known before it is loaded, where it was said.

        Raises:
            Problem: it was not, and the engine is not there yet.
        """
        return self._model_name if self._engine is None and self._model_name is not None else self.engine.model.name

    @cached_property
    def token_bytes(self) -> list[bytes]:
        """What each token of the vocabulary adds to a text.

        Raises:
            Problem: the engine is not there yet.
        """
        return self.engine.model.tokenizer.token_bytes()

    @property
    def loaded(self) -> bool:
        """Whether there is an engine."""
        return self._engine is not None

    async def load(self) -> None:
        """Make the engine, where that was left to us; logs a failure and stays unready."""
        if self._load is None:
            return
        try:
            engine = await asyncio.to_thread(self._load)
        except Exception as error:
            self.phase = Phase.FAILED
            log.error("the engine could not be loaded: %s", error)
            return
        if self._closed:
            await engine.aclose()
            return
        await _warm_up(engine)
        self._adopt(engine)

    def drain(self) -> None:
        """Take no new work; event streams end, running requests go on."""
        self.phase = Phase.DRAINING
        if self._sessions is not None:
            for session in self._sessions.live():
                session.hub.close()

    async def aclose(self) -> None:
        """Delete the sessions, and close the engine where it is ours; whatever still generates ends with an error."""
        self._closed = True
        self.phase = Phase.DRAINING if self.phase is not Phase.FAILED else Phase.FAILED
        if self._engine is not None and self._load is not None:
            await self._engine.aclose()
        if self._sessions is not None:
            await self._sessions.aclose()


async def _warm_up(engine: AsyncEngine) -> None:
    """Run the model once, so that the first request does not pay for first-touch memory and lazy set-up."""
    sequence = engine.open()
    try:
        sequence.append([0, 0])
        async with aclosing(sequence.generate(SamplingParams(max_tokens=1))) as events:
            async for _ in events:
                pass
    finally:
        sequence.close()
