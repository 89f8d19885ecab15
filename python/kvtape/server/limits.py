"""Bounds on what request bodies may hold: one body, all bodies together, and the time one may take to arrive."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.types import Scope

from kvtape.protocols.layerscale.errors import BODY_BUDGET_EXCEEDED
from kvtape.protocols.openai.errors import ApiError
from kvtape.server.lifespan import Problem

__all__ = ["BodyLimits"]

_HELD = "kvtape.body_bytes"


class BodyLimits:
    """Reads request bodies within bounds; the bytes count until the request ends.

    Args:
        body_bytes: longest body.
        total_bytes: longest sum of the bodies of all running requests.
        seconds: longest time for a body to arrive.
    """

    def __init__(self, *, body_bytes: int = 32 << 20, total_bytes: int = 256 << 20, seconds: float = 60.0) -> None:
        self.body_bytes = body_bytes
        self.total_bytes = total_bytes
        self.seconds = seconds
        self.held_bytes = 0

    async def read(self, request: Request) -> bytes:
        """Return the body.

        Raises:
            Problem: 413 too long, 503 too much in flight, 408 too slow.
            ClientDisconnect: the client went away.
        """
        declared = request.headers.get("content-length", "")
        if declared.isdecimal():
            self._check(int(declared), 0)
        pieces: list[bytes] = []
        n_bytes = 0
        try:
            async with asyncio.timeout(self.seconds):
                async for piece in request.stream():
                    self._check(n_bytes + len(piece), n_bytes)
                    n_bytes += len(piece)
                    self.held_bytes += len(piece)
                    request.scope[_HELD] = n_bytes
                    pieces.append(piece)
        except TimeoutError:
            raise Problem(ApiError.of_status(408, f"the body did not arrive within {self.seconds:g} s")) from None
        return b"".join(pieces)

    def release(self, scope: Scope) -> None:
        """Stop counting the body of a request that has ended."""
        self.held_bytes -= scope.pop(_HELD, 0)

    def _check(self, n_bytes: int, n_held: int) -> None:
        if n_bytes > self.body_bytes:
            raise Problem(ApiError.of_status(413, f"the body is longer than {self.body_bytes} bytes"))
        if self.held_bytes - n_held + n_bytes > self.total_bytes:
            raise Problem(BODY_BUDGET_EXCEEDED)
