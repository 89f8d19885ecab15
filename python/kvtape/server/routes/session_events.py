"""What happens in a session, as an event stream."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from kvtape.protocols.layerscale.codec import encode_session_event
from kvtape.server.responses import EventStream
from kvtape.server.routes import flash_views as views
from kvtape.server.routes.common import SESSION, session_of
from kvtape.session.events import Subscription

__all__ = ["ROUTES"]


async def events(request: Request) -> Response:
    """Stream what happens in the session, after the current answers, or after the event that the client saw last."""
    session = session_of(request)
    resume_at = views.event_number(request.headers.get("last-event-id"))
    changes_only = views.wants_changes_only(request.query_params)
    subscription = session.hub.subscribe(
        resume_at, changes_only=changes_only
    )  # before `connected` is written, so that nothing falls between
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


ROUTES = [Route(f"{SESSION}/events", events)]
