"""The one model this server runs."""

from __future__ import annotations

from datetime import UTC, datetime
from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from kvtape.errors import NotFound
from kvtape.protocols.layerscale import models
from kvtape.server.lifespan import Runtime
from kvtape.server.responses import json_response
from kvtape.server.routes.common import runtime_of

__all__ = ["ROUTES"]


async def list_models(request: Request) -> Response:
    """List the model."""
    model = _describe(runtime_of(request))
    return json_response(models.ModelList(data=[model], first_id=model.id, last_id=model.id))


async def get_model(request: Request) -> Response:
    """Describe the model by its name, in any case; names may hold slashes."""
    model = _describe(runtime_of(request))
    wanted = unquote(request.path_params["model_id"])
    if wanted.casefold() != model.id.casefold():
        raise NotFound(f"there is no model {wanted!r:.80}; this server runs {model.id!r}")
    return json_response(model)


def _describe(runtime: Runtime) -> models.Model:
    engine = runtime.engine
    created = int(runtime.started)
    return models.Model(
        id=engine.model.name,
        created=created,
        created_at=datetime.fromtimestamp(created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        owned_by="kvtape",
        display_name=engine.model.name,
        max_model_len=engine.n_ctx,
        max_input_tokens=engine.n_ctx - 1,
        max_tokens=engine.n_ctx - 1,
    )


ROUTES = [
    Route("/v1/models", list_models),
    Route("/v1/models/{model_id:path}", get_model),
]
