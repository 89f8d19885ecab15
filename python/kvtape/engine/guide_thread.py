"""The thread that computes an engine's masks, while the engine runs the token that each of them depends on."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from kvtape.errors import EngineFailed

if TYPE_CHECKING:
    from kvtape._native import _core
    from kvtape.engine.constraints import Guide

__all__ = ["Drawn", "GuideThread"]

# A generation's id, its guide, and the token that it drew with the guide's mask; None where that opened its reasoning.
Drawn = tuple[int, "Guide", int | None]


class GuideThread:
    """Takes the tokens that guided generations drew and hands in the masks of the next ones. Starts on first use.

    Args:
        native: the engine that the masks are for.
        fail: ends a generation whose constraint gives up.
    """

    def __init__(self, native: _core.Engine, fail: Callable[[int, Exception], None]) -> None:
        self._native, self._fail = native, fail
        self._drawn: queue.SimpleQueue[list[Drawn] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def put(self, drawn: list[Drawn]) -> None:
        """Go on with generations. For the engine's thread."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="kvtape-guide", daemon=True)
            self._thread.start()
        self._drawn.put(drawn)

    def close(self) -> None:
        """End the thread; the engine's own has ended already."""
        self._drawn.put(None)
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        while (drawn := self._drawn.get()) is not None:
            for generation, guide, token in drawn:
                try:
                    guide.reason() if token is None else guide.consume(token)
                    self._native.set_mask(generation, guide.mask())
                except Exception as error:  # also where the engine is shut down
                    self._fail(generation, error)
                except BaseException as error:  # the library's panics are no Exception; others go on
                    self._fail(generation, EngineFailed(f"generation: its constraint gave up: {error}"))
