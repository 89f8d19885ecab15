"""LayerScale: flash queries and the events of a session."""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

__all__ = [
    "Connected",
    "DataUpdated",
    "FlashDeleted",
    "FlashEntry",
    "FlashItem",
    "FlashList",
    "FlashReady",
    "FlashRegistered",
]


class FlashRegistered(msgspec.Struct, kw_only=True):
    """Answer to a registration."""

    id: int
    object: Literal["flash_query"] = "flash_query"
    query: str
    max_tokens: int
    tokens: int
    n_tokens: int
    fresh: bool = False
    choices: list[str] | UnsetType = UNSET
    total_flash_queries: int


class FlashEntry(msgspec.Struct, kw_only=True):
    """A flash query as gen-2 lists it: the answer's fields are absent until there is one."""

    id: int
    object: Literal["flash_query"] = "flash_query"
    query: str
    max_tokens: int
    tokens: int
    fresh: bool
    choices: list[str] | UnsetType = UNSET
    value: str | UnsetType = UNSET
    data_version: int | UnsetType = UNSET
    confidence: float | UnsetType = UNSET
    evaluated_at: int | UnsetType = UNSET
    probabilities: dict[str, float] | UnsetType = UNSET
    coverage: float | UnsetType = UNSET


class FlashItem(msgspec.Struct, kw_only=True):
    """A flash query as gen-1 lists it: the answer's fields are never null."""

    id: int
    query: str
    max_tokens: int
    n_tokens: int
    has_answer: bool
    choices: list[str] | UnsetType = UNSET
    value: str = ""
    data_version: int = 0
    confidence: float = 0.0
    evaluated_at: int = 0
    probabilities: dict[str, float] | UnsetType = UNSET
    coverage: float | UnsetType = UNSET


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
    probabilities: dict[str, float] | UnsetType = UNSET  # of each choice, where the query has choices
    coverage: float | UnsetType = UNSET  # of all choices together


class DataUpdated(msgspec.Struct, tag="data_updated"):
    """The context has changed for good; `total_dropped` says how much data has never become part of it."""

    data_version: int
    tokens: int
    pending: int
    data_count: int
    pos_next: int
    total_dropped: int = 0
