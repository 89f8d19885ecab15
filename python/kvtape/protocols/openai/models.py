"""Chat completions: the objects on the wire, and what all replies share.

Unknown fields are ignored on input, absent ones left out on output.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import msgspec
from msgspec import UNSET, UnsetType

__all__ = [
    "ChatRequest",
    "Choice",
    "Chunk",
    "ChunkChoice",
    "Completion",
    "ContentPart",
    "Delta",
    "Head",
    "InputMessage",
    "Logprobs",
    "OutputMessage",
    "PromptTokensDetails",
    "SamplingFields",
    "StreamOptions",
    "TokenLogprob",
    "TopTokenLogprob",
    "UsageBody",
]


class Head(NamedTuple):
    """What every frame of a reply begins with."""

    id: str
    created: int  # Unix seconds
    model: str
    system_fingerprint: str


class ContentPart(msgspec.Struct):
    """One part of a message's content; only text is understood."""

    type: str = "text"
    text: str | None = None


class InputMessage(msgspec.Struct):
    """One message of a request."""

    role: str
    content: str | list[ContentPart] | None = None
    name: str | None = None  # inert
    tool_calls: list[Any] | None = None
    tool_call_id: str | None = None
    function_call: Any = None
    audio: Any = None
    refusal: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None


class StreamOptions(msgspec.Struct):
    """Options of a streamed reply."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class SamplingFields(msgspec.Struct, kw_only=True):
    """Fields of requests of both kinds, which choose tokens."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repeat_penalty: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    ignore_eos: bool | None = None


class ChatRequest(SamplingFields, kw_only=True):
    """Body of `POST /v1/chat/completions`. Every field here is honoured, inert, or refused by name in the codec.

    Inert and not looked at, for nothing that they ask for changes a reply: `user`, `safety_identifier`, `metadata`,
    `store`, `prompt_cache_key`, `prompt_cache_options`, `prompt_cache_retention`, `prediction`.
    """

    messages: list[InputMessage]
    model: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: int | None = None
    service_tier: str | None = None  # there is one; the reply names it where the request asked for any
    # sampling
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    # the template
    chat_template_kwargs: dict[str, Any] | None = None
    reasoning_effort: str | None = None
    include_reasoning: bool | None = None  # inert on a model that does not reason, as are the next two
    separate_reasoning: bool | None = None
    stream_reasoning: bool | None = None
    # inert unless tools are given
    tool_choice: Any = None
    parallel_tool_calls: bool | None = None
    # refused unless they ask for nothing
    tools: list[Any] | None = None
    functions: list[Any] | None = None
    function_call: Any = None
    response_format: Any = None
    grammar: Any = None
    regex: Any = None
    modalities: list[str] | None = None
    audio: Any = None
    moderation: Any = None
    verbosity: str | None = None
    web_search_options: Any = None
    session_id: str | None = None


class TopTokenLogprob(msgspec.Struct):
    """One alternative at a position."""

    token: str
    logprob: float
    bytes: list[int]


class TokenLogprob(msgspec.Struct):
    """One generated token; an incomplete character shows as U+FFFD in `token` and whole in `bytes`."""

    token: str
    logprob: float
    bytes: list[int]
    top_logprobs: list[TopTokenLogprob]


class Logprobs(msgspec.Struct):
    """Log-probabilities of a choice, one entry a token."""

    content: list[TokenLogprob]


class PromptTokensDetails(msgspec.Struct):
    """How much of the prompt was in the cache."""

    cached_tokens: int


class UsageBody(msgspec.Struct):
    """Token counts; `prompt_tokens - cached_tokens` is what the request computed."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails


class OutputMessage(msgspec.Struct):
    """The reply."""

    content: str
    role: Literal["assistant"] = "assistant"


class Choice(msgspec.Struct):
    """One choice of a plain reply."""

    message: OutputMessage
    finish_reason: str
    logprobs: Logprobs | None = None
    index: int = 0


class Completion(msgspec.Struct):
    """A plain reply."""

    id: str
    created: int
    model: str
    system_fingerprint: str
    choices: list[Choice]
    usage: UsageBody
    object: Literal["chat.completion"] = "chat.completion"
    service_tier: str | UnsetType = UNSET


class Delta(msgspec.Struct):
    """What a chunk adds."""

    role: str | UnsetType = UNSET
    content: str | UnsetType = UNSET


class ChunkChoice(msgspec.Struct):
    """The choice of a chunk."""

    delta: Delta
    logprobs: Logprobs | None = None
    finish_reason: str | None = None
    index: int = 0


class Chunk(msgspec.Struct):
    """One frame of a streamed reply; `usage` is there, null until the last, only where the request asked for it."""

    id: str
    created: int
    model: str
    system_fingerprint: str
    choices: list[ChunkChoice]
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    usage: UsageBody | UnsetType | None = UNSET
    service_tier: str | UnsetType = UNSET
