"""Flash queries of a session: questions that are kept answered."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from kvtape.errors import InvalidRequest
from kvtape.protocols.layerscale import models
from kvtape.protocols.layerscale.create import decode_flash
from kvtape.server.responses import json_response
from kvtape.server.routes import flash_views as views
from kvtape.server.routes.common import SESSION, read_body, session_of

__all__ = ["ROUTES"]


async def add_flash(request: Request) -> Response:
    """Register a flash query."""
    session = session_of(request)
    call = decode_flash(await read_body(request))
    added = await session.flash.add(call.query, call.max_tokens, call.choices)
    return json_response(views.flash_registered(session, added))


async def list_flash(request: Request) -> Response:
    """List the flash queries and their answers."""
    return json_response(views.flash_list(session_of(request)))


async def delete_flash(request: Request) -> Response:
    """Remove a flash query."""
    session = session_of(request)
    flash_id = request.path_params["flash_id"]
    if not flash_id.isdecimal():
        raise InvalidRequest(f"a flash id is a number, found {flash_id!r:.40}", param="flash_id")
    session.board.remove(int(flash_id))
    return json_response(models.FlashDeleted(int(flash_id), len(session.board.queries)))


ROUTES = [
    Route(f"{SESSION}/flash", list_flash),
    Route(f"{SESSION}/flash", add_flash, methods=["POST"]),
    Route(f"{SESSION}/flash/{{flash_id}}", delete_flash, methods=["DELETE"]),
]
