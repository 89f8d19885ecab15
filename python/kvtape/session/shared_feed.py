"""Rows from a feed handler in another process, through a ring in shared memory, into a session."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial

import numpy as np
from numpy.typing import NDArray

from kvtape.errors import InvalidRequest, Overloaded
from kvtape.ring import Overflow as RingOverflow
from kvtape.ring import SharedRing
from kvtape.session.context import LiveContext
from kvtape.session.spec import Overflow, SharedRingSpec

__all__ = ["SharedFeed"]

log = logging.getLogger(__name__)

MAX_ROWS = 4_096  # taken off the ring at once
WAIT_SECONDS = 1.0


class SharedFeed:
    """Makes the ring that `spec` describes, and moves rows from it to `context` as they come; it goes with the session.

    A thread waits for rows and costs nothing meanwhile. Rows that cannot be are dropped one by one, and counted. Where
    the session's `policy` is to refuse rows for want of room, they wait in the ring, whose writer is refused then.

    Raises:
        InvalidRequest: the session has no typed rows, a name cannot be one, or the ring cannot be made so.
        Conflict: somebody else reads a ring of this name.
        Overloaded: there is no shared memory for it.
    """

    def __init__(self, spec: SharedRingSpec, policy: Overflow, context: LiveContext) -> None:
        row_type, names = context.row_type, context.names
        if row_type is None or names is None:
            raise InvalidRequest("shared_ring needs a session of typed rows", param="shared_ring")
        names.extend(spec.names)
        names.add_defaults()
        overflow: RingOverflow = "drop_newest" if policy in ("drop_newest", "block") else "drop_oldest"
        try:
            self.ring = SharedRing.create(spec.name, row_type.name, capacity=spec.capacity, overflow=overflow)
        except InvalidRequest as error:
            raise InvalidRequest(str(error), param=f"shared_ring.{error.param or 'name'}") from None
        except OSError as error:
            raise Overloaded(f"shared ring {spec.name!r}: {error}") from error
        self._context = context
        self._layout, self._indices = row_type.layout, names.indices
        self._closing = False
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="kvtape-feed")
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        """Stop, and close the ring: its writer is told at the next push."""
        self._closing = True
        self.ring.close()
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        self._executor.shutdown(wait=False)

    async def _run(self) -> None:
        loop, context, ring = asyncio.get_running_loop(), self._context, self.ring
        try:
            while not context.stopped:
                if not await loop.run_in_executor(self._executor, partial(ring.wait, WAIT_SECONDS)):
                    continue
                room = context.intake.room
                if room:
                    self._pour(ring.pop(min(room, MAX_ROWS)))
                else:
                    await context.until_fewer_than(context.n_pending)
        except Exception as error:
            if not self._closing:
                log.error("shared ring %r is read no more: %s", ring.name, error)
        finally:
            ring.close()

    def _pour(self, rows: NDArray[np.void]) -> None:
        while len(rows):
            n_valid = self._layout.count_valid(rows, self._indices)
            if n_valid:
                self._context.push(rows[:n_valid])
            if n_valid < len(rows):
                self._context.counters.total_dropped += 1
            rows = rows[n_valid + 1 :]
