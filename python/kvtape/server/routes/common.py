"""What every route needs from its request."""

from __future__ import annotations

from typing import cast

from starlette.requests import HTTPConnection, Request

from kvtape.server.lifespan import Runtime
from kvtape.server.limits import BodyLimits

__all__ = ["read_body", "runtime_of"]


def runtime_of(request: HTTPConnection) -> Runtime:
    """Return the app's runtime."""
    return cast(Runtime, request.app.state.runtime)


async def read_body(request: Request) -> bytes:
    """Read the body within the server's limits.

    Raises:
        Problem: 408, 413 or 503.
    """
    return await cast(BodyLimits, request.app.state.limits).read(request)
