"""Messages: the objects on the wire. Unknown fields are ignored on input, absent ones left out on output."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

__all__ = [
    "Block",
    "BlockDelta",
    "BlockStart",
    "BlockStop",
    "CountRequest",
    "InputMessage",
    "Message",
    "MessageChange",
    "MessageDelta",
    "MessageRequest",
    "MessageStart",
    "MessageStop",
    "OutputConfig",
    "Ping",
    "TextBlock",
    "TextDelta",
    "Thinking",
    "TokenCount",
    "UsageBody",
]


class CacheControl(msgspec.Struct):
    """A mark up to which the prompt is meant to be cached; `ttl` is inert, memory alone decides how long it is."""

    type: Literal["ephemeral"]
    ttl: Literal["5m", "1h"] | None = None


class Block(msgspec.Struct):
    """One block of a message's content or of the system prompt; what another type carries besides is not read."""

    type: str = "text"
    text: str | None = None
    thinking: str | None = None
    cache_control: CacheControl | None = None


class InputMessage(msgspec.Struct):
    """One message of a request."""

    role: str
    content: str | list[Block]


class Thinking(msgspec.Struct):
    """How much the model may reason."""

    type: str


class OutputConfig(msgspec.Struct):
    """What the answer should be like."""

    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: Any = None


class CountRequest(msgspec.Struct, kw_only=True):
    """Body of `POST /v1/messages/count_tokens`: what makes the prompt, and what is refused by name."""

    messages: list[InputMessage]
    model: str | None = None  # not read: a server runs one model
    system: str | list[Block] | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None
    cache_control: CacheControl | None = None  # on the last block
    # refused unless they ask for nothing
    tools: list[Any] | None = None
    tool_choice: Any = None
    speed: str | None = None
    output_format: Any = None
    mcp_servers: list[Any] | None = None
    context_management: Any = None
    compaction: Any = None
    session_id: str | None = None


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


class UsageBody(msgspec.Struct):
    """Token counts; the three of the input add up to the prompt."""

    input_tokens: int
    output_tokens: int
    cache_creation_input_tokens: int = 0
    cache_read_input_tokens: int = 0


class TokenCount(msgspec.Struct):
    """Reply of count_tokens."""

    input_tokens: int


class TextBlock(msgspec.Struct, tag="text"):
    """Text of the answer."""

    text: str


class Message(msgspec.Struct, tag="message"):
    """A reply; empty and without a stop reason at the start of a stream."""

    id: str
    model: str
    content: list[TextBlock]
    usage: UsageBody
    stop_reason: str | None = None
    stop_sequence: str | None = None
    role: Literal["assistant"] = "assistant"


class MessageStart(msgspec.Struct, tag="message_start"):
    """First event of a stream; its usage is provisional, for nobody knows yet what the cache holds."""

    message: Message


class BlockStart(msgspec.Struct, tag="content_block_start"):
    """A block begins."""

    index: int
    content_block: TextBlock


class TextDelta(msgspec.Struct, tag="text_delta"):
    """More text of a block."""

    text: str


class BlockDelta(msgspec.Struct, tag="content_block_delta"):
    """More of a block."""

    index: int
    delta: TextDelta


class BlockStop(msgspec.Struct, tag="content_block_stop"):
    """A block is complete."""

    index: int


class MessageChange(msgspec.Struct):
    """What the end of a stream says of the whole message."""

    stop_reason: str
    stop_sequence: str | None


class MessageDelta(msgspec.Struct, tag="message_delta"):
    """The end of the message, with its final usage."""

    delta: MessageChange
    usage: UsageBody


class MessageStop(msgspec.Struct, tag="message_stop"):
    """Last event of a stream."""


class Ping(msgspec.Struct, tag="ping"):
    """Nothing, sent so that a connection does not fall silent."""
