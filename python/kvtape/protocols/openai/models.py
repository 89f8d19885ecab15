"""Chat completions: the objects of a reply. Absent fields are left out."""

from __future__ import annotations

from typing import Literal, NamedTuple

import msgspec
from msgspec import UNSET, UnsetType

__all__ = [
    "CalledFunction",
    "Choice",
    "Chunk",
    "ChunkChoice",
    "Completion",
    "CompletionTokensDetails",
    "Delta",
    "FunctionDelta",
    "Head",
    "Logprobs",
    "OutputMessage",
    "OutputToolCall",
    "PromptTokensDetails",
    "TokenLogprob",
    "ToolCallDelta",
    "TopTokenLogprob",
    "UsageBody",
]


class Head(NamedTuple):
    """What every frame of a reply begins with."""

    id: str
    created: int  # Unix seconds
    model: str
    system_fingerprint: str


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
    """Log-probabilities of a choice, one entry a token: of reasoning and calls too."""

    content: list[TokenLogprob]


class PromptTokensDetails(msgspec.Struct):
    """How much of the prompt was in the cache."""

    cached_tokens: int


class CompletionTokensDetails(msgspec.Struct):
    """How much of the reply was reasoning, its markers included."""

    reasoning_tokens: int


class UsageBody(msgspec.Struct):
    """Token counts; `prompt_tokens - cached_tokens` is what the request computed."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails
    completion_tokens_details: CompletionTokensDetails | UnsetType = UNSET  # where the model reasoned


class CalledFunction(msgspec.Struct):
    """A function that the model called; the arguments are the model's own text."""

    name: str
    arguments: str


class OutputToolCall(msgspec.Struct):
    """A call."""

    id: str
    function: CalledFunction
    type: Literal["function"] = "function"


class OutputMessage(msgspec.Struct):
    """The reply; `reasoning` and `reasoning_content` are one text under the two names that clients look for."""

    content: str | None
    role: Literal["assistant"] = "assistant"
    refusal: str | None = None
    reasoning: str | UnsetType | None = UNSET
    reasoning_content: str | UnsetType | None = UNSET
    tool_calls: list[OutputToolCall] | UnsetType = UNSET
    function_call: CalledFunction | UnsetType = UNSET


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


class FunctionDelta(msgspec.Struct):
    """The name of a called function, or more of its arguments."""

    name: str | UnsetType = UNSET
    arguments: str | UnsetType = UNSET


class ToolCallDelta(msgspec.Struct):
    """The beginning of a call, which alone has `id` and `type`, or more of it."""

    index: int
    function: FunctionDelta
    id: str | UnsetType = UNSET
    type: str | UnsetType = UNSET


class Delta(msgspec.Struct):
    """What a chunk adds."""

    role: str | UnsetType = UNSET
    content: str | UnsetType | None = UNSET
    refusal: str | UnsetType | None = UNSET
    reasoning: str | UnsetType = UNSET
    reasoning_content: str | UnsetType = UNSET
    tool_calls: list[ToolCallDelta] | UnsetType = UNSET
    function_call: FunctionDelta | UnsetType = UNSET


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
