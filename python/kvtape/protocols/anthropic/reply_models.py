"""Replies to messages as they stand on the wire, whole and as the events of a stream."""

from __future__ import annotations

from typing import Literal

import msgspec

__all__ = [
    "BlockDelta",
    "BlockEvent",
    "BlockStart",
    "BlockStop",
    "ContentBlock",
    "Delta",
    "InputJsonDelta",
    "Message",
    "MessageChange",
    "MessageDelta",
    "MessageStart",
    "MessageStop",
    "OutputDetails",
    "Ping",
    "SignatureDelta",
    "TextBlock",
    "TextDelta",
    "ThinkingBlock",
    "ThinkingDelta",
    "TokenCount",
    "ToolUseBlock",
    "UsageBody",
]


class TokenCount(msgspec.Struct):
    """Reply of count_tokens."""

    input_tokens: int


class OutputDetails(msgspec.Struct):
    """What the output was spent on."""

    thinking_tokens: int


class UsageBody(msgspec.Struct, omit_defaults=True):
    """Token counts; the three of the input add up to the prompt."""

    input_tokens: int
    output_tokens: int
    cache_creation_input_tokens: int
    cache_read_input_tokens: int
    output_tokens_details: OutputDetails | None = None  # where the model has reasoned


class TextBlock(msgspec.Struct, tag="text"):
    """Text of the answer."""

    text: str


class ThinkingBlock(msgspec.Struct, tag="thinking"):
    """Text of the reasoning."""

    thinking: str
    signature: str


class ToolUseBlock(msgspec.Struct, tag="tool_use"):
    """A call; its input is the object in the model's own words."""

    id: str
    name: str
    input: msgspec.Raw


ContentBlock = TextBlock | ThinkingBlock | ToolUseBlock


class Message(msgspec.Struct, tag="message"):
    """A reply; empty and without a stop reason at the start of a stream."""

    id: str
    model: str
    content: list[ContentBlock]
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
    content_block: ContentBlock


class TextDelta(msgspec.Struct, tag="text_delta"):
    """More text of the answer."""

    text: str


class ThinkingDelta(msgspec.Struct, tag="thinking_delta"):
    """More text of the reasoning."""

    thinking: str


class SignatureDelta(msgspec.Struct, tag="signature_delta"):
    """The signature of a thinking block, at its end."""

    signature: str


class InputJsonDelta(msgspec.Struct, tag="input_json_delta"):
    """More of the input of a call, as JSON text."""

    partial_json: str


Delta = TextDelta | ThinkingDelta | SignatureDelta | InputJsonDelta


class BlockDelta(msgspec.Struct, tag="content_block_delta"):
    """More of a block."""

    index: int
    delta: Delta


class BlockStop(msgspec.Struct, tag="content_block_stop"):
    """A block is complete."""

    index: int


BlockEvent = BlockStart | BlockDelta | BlockStop


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
