"""LayerScale: sessions and their parts."""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

__all__ = [
    "AppendResult",
    "DataRegion",
    "MarkPrefixResult",
    "SessionDeleted",
    "SessionList",
    "SessionObject",
    "Slot",
    "SlotList",
]


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
    window: int | UnsetType = UNSET
    ready_token: int | UnsetType = UNSET
    ready_gap: float | UnsetType = UNSET
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
