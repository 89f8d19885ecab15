"""Requests for messages as they stand on the wire. Unknown fields are ignored."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

__all__ = [
    "Block",
    "CountRequest",
    "InputMessage",
    "MessageRequest",
    "OutputConfig",
    "OutputFormat",
    "ThinkingConfig",
    "ToolChoiceInput",
    "ToolInput",
]


class CacheControl(msgspec.Struct):
    """A mark up to which the prompt is meant to be cached; `ttl` is inert, memory alone decides how long it is."""

    type: Literal["ephemeral"]
    ttl: Literal["5m", "1h"] | None = None


class Block(msgspec.Struct):
    """One block of a message's content or of the system prompt: the fields of all types that are understood."""

    type: str = "text"
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    id: str | None = None
    name: str | None = None
    input: dict[str, Any] | None = None
    tool_use_id: str | None = None
    content: str | list[Block] | None = None
    is_error: bool | None = None
    cache_control: CacheControl | None = None


class InputMessage(msgspec.Struct):
    """One message of a request."""

    role: str
    content: str | list[Block]


class ToolInput(msgspec.Struct):
    """A tool; those that Anthropic defines have a type of their own, and are refused."""

    type: str | None = None
    name: str | None = None
    description: str | None = None
    input_schema: dict[str, Any] | None = None
    input_examples: list[dict[str, Any]] | None = None
    strict: bool | None = None
    cache_control: CacheControl | None = None
    # refused unless they ask for nothing
    defer_loading: bool | None = None
    allowed_callers: list[str] | None = None


class ToolChoiceInput(msgspec.Struct):
    """Whether tools are to be called."""

    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class ThinkingConfig(msgspec.Struct):
    """How much the model may reason, and how much of it the reply shows."""

    type: str
    budget_tokens: int | None = None
    display: str | None = None
    block_binding: Any = None


class OutputFormat(msgspec.Struct):
    """What form the answer must have."""

    type: Literal["json_schema"]
    schema: dict[str, Any]


class OutputConfig(msgspec.Struct):
    """What the answer should be like."""

    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: OutputFormat | None = None
    task_budget: Any = None


class CountRequest(msgspec.Struct, kw_only=True):
    """Body of `POST /v1/messages/count_tokens`: what makes the prompt, and what is refused by name."""

    messages: list[InputMessage]
    model: str | None = None  # not read: a server runs one model
    system: str | list[Block] | None = None
    tools: list[ToolInput] | None = None
    tool_choice: ToolChoiceInput | None = None
    thinking: ThinkingConfig | None = None
    output_config: OutputConfig | None = None
    output_format: OutputFormat | None = None  # where the format stood before
    cache_control: CacheControl | None = None  # on the last block
    session_id: str | None = None  # of LayerScale's clients; what counts tokens does not look at it
    # refused unless they ask for nothing
    speed: str | None = None
    mcp_servers: list[Any] | None = None
    context_management: Any = None
    compaction: Any = None


class MessageRequest(CountRequest, kw_only=True):
    """Body of `POST /v1/messages`. Every field here is honoured, inert, or refused by name in the codec."""

    max_tokens: int
    stream: bool | None = None
    stop_sequences: list[str] | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None  # LayerScale's, as is the next
    ignore_eos: bool | None = None
    # inert: they say whose the request is
    metadata: dict[str, Any] | None = None
    user_profile_id: str | None = None
    # refused unless they ask for nothing
    service_tier: str | None = None
    inference_geo: str | None = None
    container: Any = None
    diagnostics: Any = None
    billing_policy: Any = None
    fallbacks: Any = None
    fallback_credit_token: Any = None
    thread: Any = None
