"""The one model this server runs."""

from __future__ import annotations

from datetime import UTC, datetime
from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

import kvtape
from kvtape._native import _core
from kvtape.errors import NotFound
from kvtape.protocols.layerscale import models
from kvtape.server.lifespan import Runtime
from kvtape.server.responses import json_response
from kvtape.server.routes.common import runtime_of

__all__ = ["ROUTES"]


async def list_models(request: Request) -> Response:
    """List the model, and what runs it."""
    runtime = runtime_of(request)
    model = _describe(runtime)
    return json_response(
        models.ModelList(data=[model], first_id=model.id, last_id=model.id, server=_describe_server(runtime))
    )


async def get_model(request: Request) -> Response:
    """Describe the model by its name, in any case; names may hold slashes."""
    model = _describe(runtime_of(request))
    wanted = unquote(request.path_params["model_id"])
    if wanted.casefold() != model.id.casefold():
        raise NotFound(f"there is no model {wanted!r:.80}; this server runs {model.id!r}")
    return json_response(model)


def _describe(runtime: Runtime) -> models.Model:
    """Describe the model; while it is loaded, not a token is admitted, so its lengths are 0."""
    name, created = runtime.model_name, int(runtime.started)
    n_ctx = runtime.engine.n_ctx if runtime.loaded else 0
    return models.Model(
        id=name,
        created=created,
        created_at=datetime.fromtimestamp(created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        owned_by="kvtape",
        display_name=name,
        max_model_len=n_ctx,
        max_input_tokens=max(n_ctx - 1, 0),
        max_tokens=max(n_ctx - 1, 0),
    )


def _describe_server(runtime: Runtime) -> models.ServerInfo:
    info = models.ServerInfo(version=kvtape.__version__, build=f"{_core.active_isa()}, {_core.compiler()}")
    if runtime.loaded:
        engine, stats = runtime.engine, runtime.engine.stats()
        weights = engine.model.core
        info.model = models.LoadedModel(
            id=engine.model.name,
            size_bytes=engine.model.size_bytes,
            params=engine.model.n_params,
            layers=weights.n_layers,
            hidden_size=weights.dim,
            attention_heads=weights.n_heads,
            kv_heads=weights.n_kv_heads,
            trained_context=engine.model.n_ctx_train,
            kv_cache_type=stats.kv_type,
        )
        info.scheduler = models.SchedulerInfo(
            max_concurrent=_core.MAX_SEQUENCES,  # each generation has a sequence of its own
            max_sessions=runtime.max_sessions,
            max_sequences=_core.MAX_SEQUENCES,
            batch_tokens=_core.STEP_TOKENS,
            context=engine.n_ctx,
            prefix_slots=stats.kv_blocks_total,
            chunk_size=_core.STEP_TOKENS,
        )
    return info


ROUTES = [
    Route("/v1/models", list_models),
    Route("/v1/models/{model_id:path}", get_model),
]
