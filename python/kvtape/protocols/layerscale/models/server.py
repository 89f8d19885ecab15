"""LayerScale: the server and its model."""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

__all__ = [
    "Accelerator",
    "Health",
    "LoadedModel",
    "Model",
    "ModelList",
    "SchedulerInfo",
    "ServerInfo",
]


class Health(msgspec.Struct, kw_only=True):
    """Answer to `/health`, the same fields whether ready or not.

    Six stay zero, for there is no such thing here: decode graphs captured (`graph_captures`), prompt tokens that ran
    again because a sliding window had left the cache (`prefix_window_miss_tokens`; a session's window is rebuilt from
    its tape, and counts as ingested), snapshots of recurrent states given up (`session_snapshot_evictions`); calls that
    were mended, and tokens of calls that were not drawn (`tool_calls_recovered`, `_jump_forward`, `_forced_tokens`).
    """

    status: Literal["ok", "unavailable"]
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


class Accelerator(msgspec.Struct):
    """A device beside the CPU; sizes in MiB."""

    name: str
    description: str
    vram_mb: int
    free_mb: int


class LoadedModel(msgspec.Struct):
    """The model, once it is loaded."""

    id: str
    size_bytes: int
    params: int
    layers: int
    hidden_size: int
    attention_heads: int
    kv_heads: int
    trained_context: int
    kv_cache_type: str


class SchedulerInfo(msgspec.Struct):
    """What the engine can hold and do at a time."""

    max_concurrent: int  # generations
    max_sessions: int
    max_sequences: int
    batch_tokens: int  # of a step
    context: int
    prefix_slots: int  # blocks that prompts with a common beginning share
    chunk_size: int  # of a prompt, in tokens: as much as a step takes


class ServerInfo(msgspec.Struct, kw_only=True):
    """The server itself; published client 0.4.0 looks at it."""

    version: str
    build: str
    licensed: bool = True  # no licence holds anything back
    accelerators: list[Accelerator] = []
    model: LoadedModel | UnsetType = UNSET
    scheduler: SchedulerInfo | UnsetType = UNSET


class ModelList(msgspec.Struct, kw_only=True):
    """Answer to `GET /v1/models`: always one entry."""

    object: Literal["list"] = "list"
    data: list[Model]
    has_more: bool = False
    first_id: str
    last_id: str
    server: ServerInfo
