"""What flows into a session: pushes, how far they are, and statistics over them."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from kvtape.protocols.layerscale.codec import decode_push
from kvtape.server.responses import json_response
from kvtape.server.routes import session_views as views
from kvtape.server.routes.common import SESSION, read_body, row_model, session_of

__all__ = ["ROUTES"]


async def push(request: Request) -> Response:
    """Queue rows or text; the model is not waited for."""
    session = session_of(request)
    may_be_empty = request.url.path.endswith("/stream/push")  # whose clients wait for rows, not for a version
    data = decode_push(await read_body(request), row_model(session), may_be_empty=may_be_empty)
    return json_response(views.push_result(session, session.push(data)))


async def stream_status(request: Request) -> Response:
    """Show how far the ingest is."""
    return json_response(views.stream_status(session_of(request)))


async def stats(request: Request) -> Response:
    """Show statistics over all rows ingested."""
    return json_response(views.stats(session_of(request)))


ROUTES = [
    Route(f"{SESSION}/stream/push", push, methods=["POST"]),
    Route(f"{SESSION}/push", push, methods=["POST"]),
    Route(f"{SESSION}/stream/status", stream_status),
    Route(f"{SESSION}/stats", stats),
]
