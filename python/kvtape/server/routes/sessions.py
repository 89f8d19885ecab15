"""Sessions: open, list, show, delete; text that is appended, a prefix that is frozen."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from kvtape.protocols.layerscale import models
from kvtape.protocols.layerscale.codec import decode_append
from kvtape.protocols.layerscale.create import decode_create
from kvtape.server.responses import json_response, unless_gone
from kvtape.server.routes import session_views as views
from kvtape.server.routes.common import SESSION, read_body, runtime_of, session_of
from kvtape.session.spec import FlashSpec, SessionSpec, SharedRingSpec

__all__ = ["ROUTES"]


async def create_data_session(request: Request) -> Response:
    """Open a session for rows of one type, as clients of the first generation do."""
    return await _create(request, wire=1)


async def create_text_session(request: Request) -> Response:
    """Open a session for text, as clients of the second generation do."""
    return await _create(request, wire=2)


async def _create(request: Request, *, wire: int) -> Response:
    call = decode_create(await read_body(request), wire=wire)
    ring = call.shared_ring
    spec = SessionSpec(
        prompt=call.prompt,
        context=call.context,
        flash=tuple(FlashSpec(flash.query, flash.max_tokens, flash.choices) for flash in call.flash),
        mark_prefix=call.mark_prefix,
        wire=wire,
        type=call.type,
        id=call.id,
        window=call.window,
        pre_decode=call.pre_decode,
        overflow=call.overflow,
        shared_ring=SharedRingSpec(ring.name, ring.names or {}, ring.capacity) if ring is not None else None,
    )
    return json_response(views.session_object(await runtime_of(request).sessions.create(spec)))


async def list_sessions(request: Request) -> Response:
    """List all sessions."""
    sessions = runtime_of(request).sessions
    objects = [views.session_object(session) for session in sessions.live()]
    return json_response(models.SessionList(objects, objects, len(objects), sessions.max_sessions))


async def get_state(request: Request) -> Response:
    """Show a session; `/state` shows its text too."""
    session = session_of(request, touch=False)
    view = views.session_object(session)  # `last_used` is the time before this look
    session.touch()
    if request.url.path.endswith("/state"):
        tokenizer = runtime_of(request).engine.model.tokenizer
        view.context_text = await asyncio.to_thread(tokenizer.decode, session.token_ids().tolist(), special=True)
    return json_response(view)


async def delete_session(request: Request) -> Response:
    """Delete a session and all it holds."""
    session_id = request.path_params["session_id"]
    await runtime_of(request).sessions.delete(session_id)
    return json_response(models.SessionDeleted(session_id))


async def append(request: Request) -> Response:
    """Append raw text to the durable context."""
    session = session_of(request)
    text = decode_append(await read_body(request))
    n_added = await unless_gone(request, session.append(text))
    return json_response(models.AppendResult(n_added, session.n_tokens, max(session.n_tokens - 1, 0)))


async def slots(request: Request) -> Response:
    """Show the parts of the context."""
    return json_response(views.slot_list(session_of(request)))


async def mark_prefix(request: Request) -> Response:
    """Freeze the durable context as it is."""
    prefix_end = await unless_gone(request, session_of(request).mark_prefix())
    return json_response(models.MarkPrefixResult(prefix_end, f"the first {prefix_end} tokens are frozen"))


ROUTES = [
    Route("/v1/sessions/init", create_data_session, methods=["POST"]),
    Route("/v1/sessions", create_text_session, methods=["POST"]),
    Route("/v1/sessions", list_sessions),
    Route(SESSION, get_state),
    Route(SESSION, delete_session, methods=["DELETE"]),
    Route(f"{SESSION}/state", get_state),
    Route(f"{SESSION}/slots", slots),
    Route(f"{SESSION}/append", append, methods=["POST"]),
    Route(f"{SESSION}/mark_prefix", mark_prefix, methods=["POST"]),
]
