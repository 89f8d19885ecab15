"""LayerScale: what clients send."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import msgspec

__all__ = [
    "AppendRequest",
    "CreateRequest",
    "FlashInit",
    "FlashRequest",
    "GenerateRequest",
    "PushRequest",
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
