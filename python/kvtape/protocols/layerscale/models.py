"""LayerScale: the objects on the wire.

Responses are supersets: they carry the fields of both generations of clients at once, which every published client
accepts. Fields that are only sometimes there default to UNSET and are then left out.
"""

from __future__ import annotations

from typing import Any, Generic, Literal, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from kvtape.protocols.openai.models import PromptTokensDetails

__all__ = [
    "AppendRequest",
    "AppendResult",
    "Connected",
    "CreateRequest",
    "DataRegion",
    "DataUpdated",
    "FlashDeleted",
    "FlashEntry",
    "FlashInit",
    "FlashItem",
    "FlashList",
    "FlashReady",
    "FlashRegistered",
    "FlashRequest",
    "GenerateRequest",
    "GenerateToken",
    "GenerateUsage",
    "Generated",
    "Health",
    "MarkPrefixResult",
    "Model",
    "ModelList",
    "OhlcvStats",
    "PushRequest",
    "PushResult",
    "SessionDeleted",
    "SessionList",
    "SessionObject",
    "Slot",
    "SlotList",
    "StreamData",
    "StreamInfo",
    "StreamStatistics",
    "StreamStatus",
]

Row = TypeVar("Row")


class FlashInit(msgspec.Struct):
    """A flash query registered together with its session."""

    query: str
    max_tokens: int | None = None
    maxTokens: int | None = None  # another spelling of max_tokens


class CreateRequest(msgspec.Struct, kw_only=True):
    """Body of `POST /v1/sessions/init`."""

    type: str
    prompt: str | None = None
    context: int | None = None
    window_size: int | None = None
    flash: list[FlashInit | str] | None = None
    mark_prefix: bool | None = None


class AppendRequest(msgspec.Struct):
    """Body of `POST …/append`."""

    text: str


class PushRequest(msgspec.Struct, Generic[Row]):
    """Body of `POST …/stream/push`; rows are checked against the session's type."""

    data: list[Row]


class FlashRequest(msgspec.Struct):
    """Body of `POST …/flash`."""

    query: str
    max_tokens: int | None = None


class GenerateRequest(msgspec.Struct, kw_only=True):
    """Body of `POST …/generate`. Every field here is honoured, inert, or refused by name in the codec."""

    prompt: str | None = None
    stream: bool | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    ignore_eos: bool | None = None
    stop: str | list[str] | None = None
    fast_answer: bool | list[str] | None = None
    gap_threshold: float | None = None
    clear_after: int | None = None
    messages: list[Any] | None = None
    tools: list[Any] | None = None
    reasoning_effort: str | None = None
    chat_template_kwargs: dict[str, Any] | None = None


class DataRegion(msgspec.Struct):
    """Where live data sits in the context, in tokens."""

    start: int
    end: int
    window_size: int | UnsetType = UNSET


class SessionObject(msgspec.Struct, kw_only=True):
    """A session, for both generations of clients."""

    # gen-2
    id: str
    object: Literal["session"] = "session"
    created: int
    last_used: int
    tokens: int
    kv_tokens: int
    data_end: int
    data_version: int
    pending: int
    turns: int
    evicted: int
    busy: bool
    pre_decode: bool
    ready: bool
    frozen_end: int | UnsetType = UNSET
    # gen-1
    session_id: str
    type: str
    n_tokens: int
    context: int
    context_size: int
    window_size: int
    pos_min: int
    pos_max: int
    pos_next: int
    prefix_end: int
    data_region: DataRegion
    data_count: int
    pending_prefill: int
    cache_usage: float
    created_at: int
    last_used_at: int
    in_use: bool
    last_inject_us: int
    flash_queries: int
    context_text: str | UnsetType = UNSET
    # kvtape
    tokens_per_row: float


class SessionList(msgspec.Struct):
    """All live sessions, oldest first; `data` and `sessions` are the same list."""

    data: list[SessionObject]
    sessions: list[SessionObject]
    count: int
    max_sessions: int
    object: Literal["list"] = "list"


class Slot(msgspec.Struct):
    """A part of the context, in tokens."""

    name: str
    start: int
    end: int
    n_tokens: int


class SlotList(msgspec.Struct):
    """The parts of the context, one behind the other."""

    slots: list[Slot]
    prefix_end: int
    data_region: DataRegion
    pos_next: int
    total_tokens: int


class SessionDeleted(msgspec.Struct):
    """Answer to the deletion of a session."""

    id: str
    deleted: bool = True
    object: Literal["session.deleted"] = "session.deleted"


class AppendResult(msgspec.Struct):
    """Answer to an append."""

    n_tokens_added: int
    total_tokens: int
    pos_max: int


class MarkPrefixResult(msgspec.Struct):
    """Answer to `mark_prefix`."""

    prefix_end: int
    message: str


class PushResult(msgspec.Struct):
    """Acknowledgement of a push, for both generations; read together with the enqueue."""

    pushed: int
    dropped: int
    queue_size: int
    queue_capacity: int
    total_enqueued: int
    total_dropped: int
    pending: int
    pending_bytes: int
    total_pushed: int
    data_version: int


class StreamInfo(msgspec.Struct):
    """The background processor of a session."""

    initialized: bool
    running: bool
    error: bool
    queue_size: int
    queue_capacity: int
    window_size: int
    process_interval_us: int


class StreamStatistics(msgspec.Struct):
    """Cumulative counters of a session's ingest."""

    total_enqueued: int
    total_dropped: int
    batches_processed: int
    items_processed: int
    total_process_time_us: int
    avg_process_time_us: float


class StreamData(msgspec.Struct):
    """What the ingested rows take up in the context."""

    initialized: bool
    data_count: int
    total_data_tokens: int
    pos_next: int
    tokens_per_row: float


class StreamStatus(msgspec.Struct):
    """Answer to `stream/status`."""

    type: str
    streaming: StreamInfo
    statistics: StreamStatistics
    data: StreamData


class OhlcvStats(msgspec.Struct, kw_only=True):
    """Statistics over all candles ingested since the session was created."""

    type: Literal["ohlcv"] = "ohlcv"
    count: int
    max_high: float
    max_high_index: int
    min_low: float
    min_low_index: int
    max_volume: float
    first_open: float
    last_close: float
    avg_close: float
    change: float
    change_pct: float


class GenerateUsage(msgspec.Struct):
    """Token counts of an answer; one from the flash cache has zeros and neither total nor details."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int | UnsetType = UNSET
    prompt_tokens_details: PromptTokensDetails | UnsetType = UNSET


class Generated(msgspec.Struct, kw_only=True):
    """A session's answer; with `done` it is the last frame of a streamed one."""

    done: bool | UnsetType = UNSET
    text: str
    finish_reason: str
    n_tokens: int
    total_tokens: int
    pos_max: int
    id: str
    object: Literal["session.generation"] = "session.generation"
    session_id: str
    data_version: int
    usage: GenerateUsage
    flash: bool | UnsetType = UNSET
    flash_id: int | UnsetType = UNSET
    confidence: float | UnsetType = UNSET


class GenerateToken(msgspec.Struct):
    """One frame of text: `token` and `pos` for gen-1, `text` for gen-2."""

    token: str
    text: str
    pos: int
    done: bool = False


class FlashRegistered(msgspec.Struct, kw_only=True):
    """Answer to a registration."""

    id: int
    object: Literal["flash_query"] = "flash_query"
    query: str
    max_tokens: int
    tokens: int
    n_tokens: int
    fresh: bool = False
    total_flash_queries: int


class FlashEntry(msgspec.Struct, kw_only=True):
    """A flash query as gen-2 lists it: the answer's fields are absent until there is one."""

    id: int
    object: Literal["flash_query"] = "flash_query"
    query: str
    max_tokens: int
    tokens: int
    fresh: bool
    value: str | UnsetType = UNSET
    data_version: int | UnsetType = UNSET
    confidence: float | UnsetType = UNSET
    evaluated_at: int | UnsetType = UNSET


class FlashItem(msgspec.Struct, kw_only=True):
    """A flash query as gen-1 lists it: the answer's fields are never null."""

    id: int
    query: str
    max_tokens: int
    n_tokens: int
    has_answer: bool
    value: str = ""
    data_version: int = 0
    confidence: float = 0.0
    evaluated_at: int = 0


class FlashList(msgspec.Struct, kw_only=True):
    """All flash queries of a session: `data` for gen-2, `flash_queries` for gen-1."""

    object: Literal["list"] = "list"
    data: list[FlashEntry]
    data_version: int
    flash_queries: list[FlashItem]
    count: int
    current_data_version: int


class FlashDeleted(msgspec.Struct):
    """Answer to the removal of a flash query."""

    id: int
    remaining: int
    deleted: bool = True
    success: bool = True
    object: Literal["flash_query.deleted"] = "flash_query.deleted"


class Connected(msgspec.Struct, tag="connected"):
    """First event of every subscription."""

    session_id: str
    data_version: int
    flash_queries: int
    streaming: bool


class FlashReady(msgspec.Struct, tag="flash_ready"):
    """A flash query has an answer for a data version."""

    id: int
    query: str
    value: str
    data_version: int
    confidence: float
    evaluated_at: int


class DataUpdated(msgspec.Struct, tag="data_updated"):
    """The context has changed for good."""

    data_version: int
    tokens: int
    pending: int
    data_count: int
    pos_next: int


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
