"""What every request passes through: an id, counters, and errors turned into responses."""

from __future__ import annotations

import logging
import re

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from kvtape.errors import KvtapeError
from kvtape.protocols.openai.errors import ApiError
from kvtape.server.lifespan import Phase, Problem, Runtime
from kvtape.server.limits import BodyLimits
from kvtape.server.responses import REQUEST_ID, error_response, new_request_id, route_path

__all__ = ["ErrorResponses", "RequestScope"]

log = logging.getLogger(__name__)

_STARTS = ("http.response.start", "websocket.http.response.start", "websocket.accept")
_PROBES = frozenset({"/health", "/healthz", "/v1/health", "/metrics"})  # not counted: they would count themselves
_MODELS = "/v1/models"
_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")


class RequestScope:
    """Give every response an `x-request-id` (the client's own, if it sent one) and count the requests.

    Anthropic's clients look for the same id in `request-id`.
    """

    def __init__(self, app: ASGIApp, *, runtime: Runtime, limits: BodyLimits) -> None:
        self._app = app
        self._runtime = runtime
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run one request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else new_request_id()
        scope[REQUEST_ID] = request_id
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] in _STARTS:
                status = message.get("status", 101)
                headers = MutableHeaders(scope=message)
                headers["x-request-id"] = headers["request-id"] = request_id
            await send(message)

        counters = self._runtime.requests
        counted = route_path(scope) not in _PROBES
        counters.n_started += counted
        counters.n_open += counted
        try:
            await self._app(scope, receive, send_with_id)
            counters.n_ok += counted and status < 400
            counters.n_failed += counted and status >= 400
        except ClientDisconnect:
            counters.n_cancelled += counted
        except BaseException:
            counters.n_failed += counted
            raise
        finally:
            counters.n_open -= counted
            self._limits.release(scope)


class ErrorResponses:
    """Turn exceptions into error responses, and refuse new work while the server is draining."""

    def __init__(self, app: ASGIApp, *, runtime: Runtime) -> None:
        self._app = app
        self._runtime = runtime

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run one request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        started = False

        async def watch(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            if self._runtime.phase is Phase.DRAINING and not _is_answered_always(route_path(scope)):
                raise Problem(ApiError.of_status(503, "the server is shutting down"))
            await self._app(scope, receive, watch)
        except ClientDisconnect:
            raise
        except Exception as error:
            if started:
                raise  # too late for another status; the server closes the connection
            if not isinstance(error, (Problem, KvtapeError)):
                log.exception("%s %s failed", scope.get("method", "WebSocket"), scope["path"])
            response = error_response(error.error if isinstance(error, Problem) else error, scope)
            if scope["type"] == "http":
                await response(scope, receive, send)
            elif "websocket.http.response" in scope.get("extensions", {}):
                await WebSocket(scope, receive, send).send_denial_response(response)
            else:
                await send({"type": "websocket.close", "code": 1008, "reason": ""})


def _is_answered_always(path: str) -> bool:
    """Whether a path tells of the server itself, which clients want to know while it drains, too."""
    return path in _PROBES or f"{path}/".startswith(f"{_MODELS}/")
