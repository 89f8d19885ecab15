"""What every route needs from its request."""

from __future__ import annotations

from typing import Any, cast

from starlette.requests import HTTPConnection, Request

from kvtape.server.lifespan import Runtime
from kvtape.server.limits import BodyLimits
from kvtape.session.session import Session

__all__ = ["SESSION", "read_body", "row_model", "runtime_of", "session_of"]

SESSION = "/v1/sessions/{session_id}"  # path of everything that concerns one session


def runtime_of(request: HTTPConnection) -> Runtime:
    """Return the app's runtime."""
    return cast(Runtime, request.app.state.runtime)


def session_of(request: HTTPConnection, *, touch: bool = True) -> Session:
    """Return the session that the path names; being named restarts its clock of idleness.

    Raises:
        InvalidRequest: the id is malformed.
        NotFound: there is no such session.
    """
    session = runtime_of(request).sessions.get(request.path_params["session_id"])
    if touch:
        session.touch()
    return session


async def read_body(request: Request) -> bytes:
    """Read the body within the server's limits.

    Raises:
        Problem: 408, 413 or 503.
    """
    return await cast(BodyLimits, request.app.state.limits).read(request)


def row_model(session: Session) -> Any:
    """Return what the rows of a session are decoded as; anything where it has none."""
    row_type = session.context.row_type
    return Any if row_type is None else row_type.model
