"""What requests may ask for beside what they must say; what is left out is the server's choice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NotRequired, TypedDict

__all__ = [
    "ChatOptions",
    "CompletionOptions",
    "Effort",
    "FlashQuery",
    "GenerateOptions",
    "MessageOptions",
    "PromptOptions",
    "SessionOptions",
    "SharedRing",
    "ThinkingOptions",
]

Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
Object = Mapping[str, Any]


class FlashQuery(TypedDict):
    """A flash query of a new session; the answer is one of `choices`, where there are any."""

    query: str
    max_tokens: NotRequired[int]
    choices: NotRequired[Sequence[str]]


class SharedRing(TypedDict):
    """A ring in the server's shared memory, for a feed on the same machine; `names` are those that its rows count."""

    name: str
    names: NotRequired[Mapping[str, Sequence[str]]]
    capacity: NotRequired[int]


class SessionOptions(TypedDict, total=False):
    """Options of a new session.

    `context` is its longest context, `window` how much of its newest data stays, both in tokens; `overflow` says what
    happens to data that comes faster than it can be read; with `pre_decode` the question that was asked last is begun
    anew after each change, see `fast_answer`.
    """

    id: str
    prompt: str
    context: int
    window: int
    overflow: Literal["drop_newest", "drop_oldest", "block", "conflate"]
    pre_decode: bool
    flash: Sequence[str | FlashQuery]
    mark_prefix: bool
    shared_ring: SharedRing


class ThinkingOptions(TypedDict, total=False):
    """Whether the model reasons first."""

    reasoning_effort: Effort
    thinking_budget: int  # in tokens
    chat_template_kwargs: Object


class GenerateOptions(ThinkingOptions, total=False):
    """Options of a question to a session.

    `fast_answer` is a permission to answer from what is there already, or a list of answers of which one may be given
    before the whole question is read, if the model prefers its first token by `gap_threshold`.
    """

    max_tokens: int
    temperature: float
    top_p: float
    seed: int
    stop: str | Sequence[str]
    ignore_eos: bool
    fast_answer: bool | Sequence[str]
    gap_threshold: float
    clear_after: int


class _TextOptions(TypedDict, total=False):
    """How tokens are chosen, of completions of both kinds."""

    max_tokens: int
    temperature: float
    top_p: float
    top_k: int
    min_p: float
    repeat_penalty: float
    frequency_penalty: float
    presence_penalty: float
    logit_bias: Mapping[str, float]
    seed: int
    stop: str | Sequence[str]
    ignore_eos: bool
    n: int
    response_format: Object
    grammar: str
    regex: str
    stream_options: Object


class CompletionOptions(_TextOptions, total=False):
    """Options of a raw completion."""

    best_of: int
    echo: bool
    logprobs: int


class ChatOptions(_TextOptions, ThinkingOptions, total=False):
    """Options of a chat completion."""

    max_completion_tokens: int
    logprobs: bool
    top_logprobs: int
    tools: Sequence[Object]
    tool_choice: str | Object
    parallel_tool_calls: bool
    reasoning: Object
    include_reasoning: bool
    separate_reasoning: bool
    stream_reasoning: bool


class PromptOptions(TypedDict, total=False):
    """What makes the prompt of a message, beside the messages."""

    system: str | Sequence[Object]
    tools: Sequence[Object]
    tool_choice: Object
    thinking: Object
    output_config: Object


class MessageOptions(PromptOptions, total=False):
    """Options of a message."""

    temperature: float
    top_p: float
    seed: int
    stop_sequences: Sequence[str]
    ignore_eos: bool
