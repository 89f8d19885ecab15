"""Live-data sessions: the routes of the first generation of LayerScale clients."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator
from contextlib import aclosing

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from kvtape.errors import InvalidRequest, KvtapeError
from kvtape.protocols.layerscale import models
from kvtape.protocols.layerscale.codec import (
    decode_append,
    decode_create,
    decode_flash,
    decode_generate,
    decode_push,
    encode_frame,
    encode_session_event,
)
from kvtape.protocols.openai.errors import encode_error_event
from kvtape.server.responses import EventStream, json_response, unless_gone
from kvtape.server.routes import session_views as views
from kvtape.server.routes.common import read_body, runtime_of
from kvtape.session.events import Subscription
from kvtape.session.session import Answer, Session
from kvtape.session.spec import FlashSpec, SessionSpec

__all__ = ["ROUTES"]


def _session(request: Request, *, touch: bool = True) -> Session:
    session = runtime_of(request).sessions.get(request.path_params["session_id"])
    if touch:
        session.touch()
    return session


async def create_session(request: Request) -> Response:
    """Open a session."""
    sessions = runtime_of(request).sessions
    call = decode_create(await read_body(request))
    flash = tuple(FlashSpec(query, max_tokens) for query, max_tokens in call.flash)
    spec = SessionSpec(call.prompt, call.context, flash, call.mark_prefix, wire=1, type=call.type)
    return json_response(views.session_object(await sessions.create(spec)))


async def list_sessions(request: Request) -> Response:
    """List all sessions."""
    sessions = runtime_of(request).sessions
    objects = [views.session_object(session) for session in sessions.live()]
    return json_response(models.SessionList(objects, objects, len(objects), sessions.max_sessions))


async def get_state(request: Request) -> Response:
    """Show a session; `/state` shows its text too."""
    session = _session(request, touch=False)
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
    session = _session(request)
    text = decode_append(await read_body(request))
    n_added = await unless_gone(request, session.append(text))
    return json_response(models.AppendResult(n_added, session.n_tokens, max(session.n_tokens - 1, 0)))


async def slots(request: Request) -> Response:
    """Show the parts of the context."""
    return json_response(views.slot_list(_session(request)))


async def mark_prefix(request: Request) -> Response:
    """Freeze the durable context as it is."""
    prefix_end = await unless_gone(request, _session(request).mark_prefix())
    return json_response(models.MarkPrefixResult(prefix_end, f"the first {prefix_end} tokens are frozen"))


async def push(request: Request) -> Response:
    """Queue rows; the model is not waited for."""
    session = _session(request)
    ack = session.push(decode_push(await read_body(request), views.row_model(session)))
    return json_response(views.push_result(session, ack))


async def stream_status(request: Request) -> Response:
    """Show how far the ingest is."""
    return json_response(views.stream_status(_session(request)))


async def stats(request: Request) -> Response:
    """Show statistics over all rows ingested."""
    return json_response(views.stats(_session(request)))


async def generate(request: Request) -> Response:
    """Answer a question about the session's data, at once or as a stream."""
    session = _session(request)
    call = decode_generate(await read_body(request))
    question = session.ask(call.prompt, call.params, fast_answer=call.fast_answer, keep_tail=not call.clear_after)
    answer = await unless_gone(request, question)
    if call.stream:
        return EventStream(_answer_frames(session, answer), on_close=answer.close)
    try:
        text, n_tokens = "", 0
        if answer.turn is not None:
            events = await unless_gone(request, answer.turn.collect())
            text, n_tokens = "".join(event.text for event in events), len(events)
    finally:
        answer.close()
        session.touch()
    return json_response(views.generated(_generation_id(), session, answer, text, n_tokens))


async def _answer_frames(session: Session, answer: Answer) -> AsyncGenerator[bytes, None]:
    pieces: list[str] = []
    n_tokens = 0
    try:
        if answer.turn is None:
            assert answer.cached is not None
            assert answer.cached.answer is not None
            value = answer.cached.answer.value
            yield encode_frame(models.GenerateToken(value, value, session.n_tokens))
        else:
            async with aclosing(answer.turn.events()) as events:
                async for event in events:
                    if event.text:
                        pieces.append(event.text)
                        yield encode_frame(models.GenerateToken(event.text, event.text, answer.turn.start + n_tokens))
                    n_tokens += 1
    except KvtapeError as error:
        yield encode_error_event(error)
        return
    answer.close()
    session.touch()
    final = views.generated(_generation_id(), session, answer, "".join(pieces), n_tokens)
    final.done = True
    yield encode_frame(final)


def _generation_id() -> str:
    return f"gen_{secrets.token_hex(12)}"


async def add_flash(request: Request) -> Response:
    """Register a flash query."""
    session = _session(request)
    query, max_tokens = decode_flash(await read_body(request))
    added = await session.add_flash(query, max_tokens)
    return json_response(views.flash_registered(session, added))


async def list_flash(request: Request) -> Response:
    """List the flash queries and their answers."""
    return json_response(views.flash_list(_session(request)))


async def delete_flash(request: Request) -> Response:
    """Remove a flash query."""
    session = _session(request)
    flash_id = request.path_params["flash_id"]
    if not flash_id.isdecimal():
        raise InvalidRequest(f"a flash id is a number, found {flash_id!r:.40}", param="flash_id")
    session.board.remove(int(flash_id))
    return json_response(models.FlashDeleted(int(flash_id), len(session.board.queries)))


async def events(request: Request) -> Response:
    """Stream what happens in the session, after the current answers, or after the event that the client saw last."""
    session = _session(request)
    resume_at = views.event_number(request.headers.get("last-event-id"))
    subscription = session.hub.subscribe(resume_at)  # before `connected` is written, so that nothing falls between
    opening = b"".join(encode_session_event(event, number) for event, number in views.opening(session, subscription))

    def close() -> None:
        session.hub.unsubscribe(subscription)
        session.touch()

    return EventStream(_event_frames(opening, subscription), on_close=close)


async def _event_frames(opening: bytes, subscription: Subscription) -> AsyncGenerator[bytes, None]:
    yield opening
    async with aclosing(subscription.batches()) as batches:
        async for batch in batches:
            yield b"".join(
                encode_session_event(views.session_event(item.event), item.number)
                for item in batch
                if not isinstance(item, str)
            )


_ONE = "/v1/sessions/{session_id}"

ROUTES = [  # tried in this order: what comes most often stands first
    Route(f"{_ONE}/stream/push", push, methods=["POST"]),
    Route(f"{_ONE}/push", push, methods=["POST"]),
    Route(f"{_ONE}/generate", generate, methods=["POST"]),
    Route("/v1/sessions/init", create_session, methods=["POST"]),
    Route("/v1/sessions", list_sessions),
    Route(_ONE, get_state),
    Route(_ONE, delete_session, methods=["DELETE"]),
    Route(f"{_ONE}/state", get_state),
    Route(f"{_ONE}/slots", slots),
    Route(f"{_ONE}/append", append, methods=["POST"]),
    Route(f"{_ONE}/mark_prefix", mark_prefix, methods=["POST"]),
    Route(f"{_ONE}/stream/status", stream_status),
    Route(f"{_ONE}/stats", stats),
    Route(f"{_ONE}/flash", list_flash),
    Route(f"{_ONE}/flash", add_flash, methods=["POST"]),
    Route(f"{_ONE}/flash/{{flash_id}}", delete_flash, methods=["DELETE"]),
    Route(f"{_ONE}/events", events),
]
