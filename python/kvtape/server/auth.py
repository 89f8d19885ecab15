"""API keys. Off unless a key is set; then every route needs one, but the probes of readiness and CORS preflights."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable

from starlette.datastructures import Headers, QueryParams
from starlette.types import ASGIApp, Receive, Scope, Send

from kvtape.protocols.openai.errors import ApiError
from kvtape.server.lifespan import Problem
from kvtape.server.responses import route_path

__all__ = ["BEARER", "ApiKeys", "RequireKey"]

BEARER = "bearer"  # subprotocol after which a WebSocket names its key

OPEN_PATHS = frozenset({"/health", "/healthz", "/v1/health"})


class ApiKeys:
    """The keys a server accepts, kept as digests and compared in constant time."""

    def __init__(self, keys: Iterable[str]) -> None:
        self._digests = [_digest(key) for key in keys]

    def __bool__(self) -> bool:
        return bool(self._digests)

    def accept(self, key: str) -> bool:
        """Whether `key` is one of them; takes as long for every answer."""
        digest = _digest(key)
        return sum(hmac.compare_digest(digest, known) for known in self._digests) > 0


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def presented_key(scope: Scope) -> str | None:
    """Return the key a request carries: `Authorization: Bearer KEY` or `x-api-key: KEY`.

    Browsers cannot set headers on a WebSocket: there it may also be `?api_key=KEY` or `?token=KEY`, or follow `bearer`
    in the list of subprotocols.
    """
    headers = Headers(scope=scope)
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    if "x-api-key" in headers or scope["type"] != "websocket":
        return headers.get("x-api-key")
    query = QueryParams(scope["query_string"])
    offered: list[str] = scope["subprotocols"]
    named = offered[offered.index(BEARER) + 1 :][:1] if BEARER in offered else []
    return query.get("api_key") or query.get("token") or next(iter(named), None)


class RequireKey:
    """Middleware that refuses requests without a valid key."""

    def __init__(self, app: ASGIApp, *, keys: ApiKeys) -> None:
        self._app = app
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or raise.

        Raises:
            Problem: 401.
        """
        if self._keys and scope["type"] in ("http", "websocket") and not _is_open(scope):
            key = presented_key(scope)
            if key is None:
                raise Problem(
                    ApiError.of_status(401, "an API key is required: Authorization: Bearer KEY or x-api-key: KEY")
                )
            if not self._keys.accept(key):
                raise Problem(ApiError.of_status(401, "the API key is not valid"))
        await self._app(scope, receive, send)


def _is_open(scope: Scope) -> bool:
    return scope.get("method") == "OPTIONS" or route_path(scope) in OPEN_PATHS
