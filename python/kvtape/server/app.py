"""The ASGI app."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from kvtape.protocols.openai.errors import ApiError
from kvtape.server import openapi as document
from kvtape.server.auth import ApiKeys, RequireKey
from kvtape.server.lifespan import EngineSource, Problem, Runtime
from kvtape.server.limits import BodyLimits
from kvtape.server.middleware import ErrorResponses, RequestScope
from kvtape.server.responses import error_response
from kvtape.server.routes import (
    anthropic,
    health,
    models,
    openai,
    session_chat,
    session_data,
    session_events,
    session_flash,
    session_generate,
    session_socket,
    sessions,
)

__all__ = ["create_app"]


def create_app(
    engine: EngineSource,
    *,
    api_keys: Sequence[str] = (),
    max_sessions: int = 256,
    idle_seconds: float = 3600.0,
    limits: BodyLimits | None = None,
    model_name: str | None = None,
) -> Starlette:
    """Make the app that serves an engine over HTTP; run it with any ASGI server, or mount it in an app of your own.

    Args:
        engine: an engine, blocking or asynchronous, which stays yours to close; or a function that makes an
            `AsyncEngine`, which is called in a thread when the app starts, and the engine closed when it stops. A
            mounted app is not started by its host, so give it an engine.
        api_keys: keys of which a request must carry one; none: no key is asked for.
        max_sessions: sessions that may be live at a time.
        idle_seconds: a session that nobody used for so long is deleted.
        limits: bounds of request bodies.
        model_name: what `/v1/models` calls the model while `engine`, a function, still makes it.
    """
    runtime = Runtime(engine, max_sessions=max_sessions, idle_seconds=idle_seconds, model_name=model_name)
    bounds = limits or BodyLimits()

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        loading = asyncio.create_task(runtime.load())
        try:
            yield
        finally:
            await runtime.aclose()
            await loading

    app = Starlette(
        routes=[  # tried in this order: what comes most often stands first
            *session_data.ROUTES,
            *session_generate.ROUTES,
            *session_chat.ROUTES,
            *sessions.ROUTES,
            *session_flash.ROUTES,
            *session_events.ROUTES,
            *session_socket.ROUTES,
            *openai.ROUTES,
            *anthropic.ROUTES,
            *models.ROUTES,
            *health.ROUTES,
            *document.ROUTES,
        ],
        middleware=[
            Middleware(RequestScope, runtime=runtime, limits=bounds),
            Middleware(
                CORSMiddleware,
                allow_origins=["*"],
                allow_methods=["GET", "POST", "DELETE"],
                allow_headers=["*"],  # the published clients send a dozen of their own
                expose_headers=["x-request-id", "request-id"],
            ),
            Middleware(ErrorResponses, runtime=runtime),
            Middleware(RequireKey, keys=ApiKeys(api_keys)),
        ],
        exception_handlers={HTTPException: _on_http_exception},
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    app.router.default = _on_unknown_route
    app.state.runtime = runtime
    app.state.limits = bounds
    app.state.needs_key = bool(api_keys)
    return app


async def _on_unknown_route(scope: Scope, receive: Receive, send: Send) -> None:
    """Refuse a path that there is nothing at, also to a WebSocket."""
    raise Problem(ApiError.of_status(404, f"there is no route {scope['path']}"))


async def _on_http_exception(request: Request, error: Exception) -> Response:
    """Answer an unknown route or a wrong method with the standard error body."""
    assert isinstance(error, HTTPException)
    what = {405: f"{request.url.path} does not take {request.method}"}
    api_error = ApiError.of_status(error.status_code, what.get(error.status_code, error.detail))
    response = error_response(api_error, request.scope)
    response.headers.update(error.headers or {})
    return response
