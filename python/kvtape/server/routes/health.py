"""Readiness and counters."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from kvtape.server.lifespan import Phase
from kvtape.server.metrics import read_health, read_metrics
from kvtape.server.prometheus import CONTENT_TYPE, render
from kvtape.server.responses import json_response
from kvtape.server.routes.common import runtime_of

__all__ = ["ROUTES"]


async def health(request: Request) -> Response:
    """Answer 200 when ready and 503 when not, with the same counters."""
    runtime = runtime_of(request)
    return json_response(read_health(runtime), 200 if runtime.phase is Phase.READY else 503)


async def health_v1(request: Request) -> Response:
    """Answer with the status alone."""
    return Response(status_code=200 if runtime_of(request).phase is Phase.READY else 503)


async def metrics(request: Request) -> Response:
    """Answer with the counters as Prometheus text."""
    return Response(render(read_metrics(runtime_of(request))), media_type=CONTENT_TYPE)


ROUTES = [
    Route("/health", health),
    Route("/healthz", health),
    Route("/v1/health", health_v1),
    Route("/metrics", metrics),
]
