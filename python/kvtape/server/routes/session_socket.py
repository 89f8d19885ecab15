"""A session's WebSocket: rows in, acknowledgements, events and answers out."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import aclosing

from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from kvtape.errors import KvtapeError
from kvtape.protocols.layerscale.codec import check_data
from kvtape.protocols.layerscale.socket import (
    CloseMessage,
    PingMessage,
    decode_message,
    encode_error,
    encode_event,
    encode_pong,
)
from kvtape.server.auth import BEARER
from kvtape.server.routes import flash_views as views
from kvtape.server.routes.common import SESSION, row_model, session_of
from kvtape.server.routes.session_views import push_result
from kvtape.server.websocket import connection_of
from kvtape.session.events import Subscription
from kvtape.session.session import Session

__all__ = ["ROUTES"]

PING_SECONDS, READ_SECONDS = 15.0, 30.0


async def session_socket(socket: WebSocket) -> None:
    """Serve one connection until either side ends it, or the session does."""
    session = session_of(socket)
    resume_at = views.event_number(socket.query_params.get("last_event_id"))  # browsers cannot set headers here
    changes_only = views.wants_changes_only(socket.query_params)
    subscription = session.hub.subscribe(resume_at, changes_only=changes_only)
    opening = views.opening(session, subscription)  # of the same moment, so that nothing falls between or comes twice
    try:
        await socket.accept(subprotocol=BEARER if BEARER in socket.scope["subprotocols"] else None)
        for event, number in opening:
            await socket.send_text(encode_event(event, number))
        await _serve(socket, session, subscription)
    except WebSocketDisconnect:
        pass
    finally:
        session.hub.unsubscribe(subscription)
        session.touch()


async def _serve(socket: WebSocket, session: Session, subscription: Subscription) -> None:
    work = [_read(socket, session, subscription), _write(socket, subscription)]
    if connection := connection_of(socket.scope):
        work.append(connection.keep_alive(every=PING_SECONDS, timeout=READ_SECONDS, payload=b"hb"))
    tasks = [asyncio.ensure_future(part) for part in work]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    for result in results:
        if isinstance(result, Exception):
            raise result
    await socket.close()


async def _read(socket: WebSocket, session: Session, subscription: Subscription) -> None:
    """Do what the client says. A message is answered before the next one is read, so that a flood waits outside."""
    while True:
        message = await socket.receive()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message["code"])
        session.touch()
        try:
            request = decode_message(_text(message), row_model(session))
            if isinstance(request, CloseMessage):
                return
            if isinstance(request, PingMessage):
                answer = encode_pong()
            else:
                data = check_data(request.data, may_be_empty=session.spec.wire == 1)
                answer = encode_event(push_result(session, session.push(data)))
        except KvtapeError as error:
            answer = encode_error(error)
        subscription.put(answer)  # in front of every event that the push will cause
        await subscription.taken()


def _text(message: Mapping[str, object]) -> str:
    text = message.get("text")
    return text if isinstance(text, str) else ""


async def _write(socket: WebSocket, subscription: Subscription) -> None:
    async with aclosing(subscription.batches()) as batches:
        async for batch in batches:
            for item in batch:
                if not isinstance(item, str):
                    item = encode_event(views.session_event(item.event), item.number)
                await socket.send_text(item)


ROUTES = [WebSocketRoute(f"{SESSION}/ws", session_socket)]
