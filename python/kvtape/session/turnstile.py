"""Who may change a session's context: one at a time, each after the data that was acknowledged before it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from kvtape.errors import EngineFailed

__all__ = ["Turnstile"]

log = logging.getLogger(__name__)


class Turnstile:
    """Turns of changes. A batch of data takes one only when it is free; others wait, and data behind them waits too.

    Args:
        n_settled: tells how many entries of data have become part of the context, or were dropped.
        on_free: is told that the next batch may come.

    Attributes:
        taken: whether somebody is changing the context.
        fault: why nothing changes it any more.
    """

    def __init__(self, n_settled: Callable[[], int], *, on_free: Callable[[], None]) -> None:
        self.taken = False
        self.fault: Exception | None = None
        self._n_settled = n_settled
        self._on_free = on_free
        self._stops: list[int] = []  # how many entries are to settle before a change that waits
        self._tasks: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()

    def try_take(self) -> int | None:
        """Say how many entries may come in before a change that waits; None: no bound, 0: nobody may come in now."""
        if self.taken or self.fault is not None:
            return 0
        return min(self._stops) - self._n_settled() if self._stops else None

    @asynccontextmanager
    async def turn(self, target: int) -> AsyncIterator[None]:
        """Wait until `target` entries have settled and nobody else changes the context, and keep it so.

        Raises:
            EngineFailed: there are no more turns.
        """
        self._stops.append(target)
        try:
            await self.wait_until(lambda: self._n_settled() >= target and not self.taken)
            self.taken = True
        finally:
            self._stops.remove(target)
            if not self.taken:
                self._on_free()
        try:
            yield
        finally:
            self.release()

    def release(self) -> None:
        """Let the next one in."""
        if self.fault is None:
            self.taken = False
            self.notify()
            self._on_free()

    def fail(self, error: Exception) -> None:
        """Let nobody in any more; whoever waits gets the error."""
        self.fault = error
        self.taken = False
        self.notify()

    def notify(self) -> None:
        """Say that something has settled."""
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait for what a settle or the end of a turn brings about.

        Raises:
            EngineFailed: it never will be.
        """
        while not condition():
            if self.fault is not None:
                raise EngineFailed(f"the session takes in no more data: {self.fault}")
            await self._changed.wait()

    def start(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run work in the background; its error is the fault of the context."""
        task = asyncio.get_running_loop().create_task(self._guarded(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Cancel the work in the background, and let nobody in any more."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        self.fail(EngineFailed("the session was deleted"))

    async def _guarded(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except Exception as error:
            if self.fault is None:
                log.error("a session stopped taking in data: %s", error, exc_info=not isinstance(error, EngineFailed))
                self.fail(error)
