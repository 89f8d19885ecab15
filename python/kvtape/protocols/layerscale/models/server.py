"""LayerScale: the server and its model."""

from __future__ import annotations

from typing import Literal

import msgspec

__all__ = [
    "Health",
    "Model",
    "ModelList",
]


class Health(msgspec.Struct, kw_only=True):
    """Answer to `/health`, the same fields whether ready or not; what does not exist here counts zero."""

    status: str
    uptime_ms: int = 0
    queued: int = 0
    running: int = 0
    connections: int = 0
    steps: int = 0
    preemptions: int = 0
    kv_pages_total: int = 0
    kv_pages_free: int = 0
    graph_captures: int = 0
    requests_started: int = 0
    requests_ok: int = 0
    requests_failed: int = 0
    requests_cancelled: int = 0
    prompt_tokens: int = 0
    generated_tokens: int = 0
    spec_decode_draft_tokens: int = 0
    spec_decode_accepted_tokens: int = 0
    sessions: int = 0
    session_turns: int = 0
    prefix_cached_tokens: int = 0
    prefix_window_miss_tokens: int = 0
    session_cached_tokens: int = 0
    session_ingested_tokens: int = 0
    session_snapshot_evictions: int = 0
    session_warm_turns: int = 0
    session_warmed_tokens: int = 0
    session_flash_hits: int = 0
    session_ready_exits: int = 0
    tool_calls_malformed: int = 0
    tool_calls_recovered: int = 0
    tool_calls_jump_forward: int = 0
    tool_calls_forced_tokens: int = 0
    session_call_turns_exact: int = 0
    session_call_turns_diverged: int = 0


class Model(msgspec.Struct, kw_only=True):
    """The one model a server runs."""

    id: str
    object: Literal["model"] = "model"
    created: int
    created_at: str
    owned_by: str
    type: Literal["model"] = "model"
    display_name: str
    max_model_len: int
    max_input_tokens: int
    max_tokens: int
    lifecycle: Literal["active"] = "active"
    capabilities: None = None
    deprecated_at: None = None
    retires_at: None = None
    line: None = None


class ModelList(msgspec.Struct, kw_only=True):
    """Answer to `GET /v1/models`: always one entry."""

    object: Literal["list"] = "list"
    data: list[Model]
    has_more: bool = False
    first_id: str
    last_id: str
