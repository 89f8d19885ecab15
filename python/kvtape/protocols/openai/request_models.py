"""Chat completions: the objects of a request. Unknown fields are ignored."""

from __future__ import annotations

from typing import Any

import msgspec

__all__ = [
    "AllowedTools",
    "ChatRequest",
    "ContentPart",
    "FunctionCall",
    "FunctionDefinition",
    "FunctionName",
    "InputMessage",
    "InputToolCall",
    "JsonSchemaFormat",
    "NamedTool",
    "Reasoning",
    "ResponseFormat",
    "SamplingFields",
    "StreamOptions",
    "ToolChoiceObject",
    "ToolDefinition",
]


class ContentPart(msgspec.Struct):
    """One part of a message's content; only text is understood, and a refusal in what the assistant said."""

    type: str = "text"
    text: str | None = None
    refusal: str | None = None


class FunctionCall(msgspec.Struct):
    """A function that the assistant called."""

    name: str
    arguments: Any = None  # a JSON object as text; LayerScale's clients may send the object


class InputToolCall(msgspec.Struct):
    """A call of the assistant."""

    id: str | None = None
    type: str = "function"
    function: FunctionCall | None = None


class InputMessage(msgspec.Struct):
    """One message of a request."""

    role: str
    content: str | list[ContentPart] | None = None
    name: str | None = None  # of a function whose result this is; else inert
    tool_calls: list[InputToolCall] | None = None
    tool_call_id: str | None = None
    function_call: FunctionCall | None = None
    audio: Any = None
    refusal: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None


class FunctionDefinition(msgspec.Struct):
    """A function that the model may call."""

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class ToolDefinition(msgspec.Struct):
    """A tool; only functions are understood."""

    type: str = "function"
    function: FunctionDefinition | None = None


class FunctionName(msgspec.Struct):
    """A function by its name."""

    name: str


class NamedTool(msgspec.Struct):
    """A tool by its name."""

    type: str = "function"
    function: FunctionName | None = None


class AllowedTools(msgspec.Struct):
    """Some of the tools."""

    mode: str
    tools: list[NamedTool]


class ToolChoiceObject(msgspec.Struct):
    """The one tool that is called, or those that may be."""

    type: str = "function"
    function: FunctionName | None = None
    allowed_tools: AllowedTools | None = None


class JsonSchemaFormat(msgspec.Struct):
    """A schema that the answer follows, strict or not: tokens that would leave it are never drawn."""

    name: str
    schema: dict[str, Any] | None = None
    strict: bool | None = None
    description: str | None = None  # inert


class ResponseFormat(msgspec.Struct):
    """What the answer is."""

    type: str
    json_schema: JsonSchemaFormat | None = None


class Reasoning(msgspec.Struct):
    """Reasoning in one object, as OpenRouter has it."""

    enabled: bool | None = None
    effort: str | None = None
    max_tokens: int | None = None
    exclude: bool | None = None


class StreamOptions(msgspec.Struct):
    """Options of a streamed reply."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class SamplingFields(msgspec.Struct, kw_only=True):
    """Fields of requests of both kinds, which choose tokens."""

    response_format: ResponseFormat | None = None
    grammar: str | None = None
    regex: str | None = None

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
    # reasoning
    chat_template_kwargs: dict[str, Any] | None = None
    reasoning: Reasoning | None = None
    reasoning_effort: str | None = None
    thinking_budget: int | None = None  # also spelled thinking_token_budget
    include_reasoning: bool | None = None
    separate_reasoning: bool | None = None
    stream_reasoning: bool | None = None
    # tools
    tools: list[ToolDefinition] | None = None
    tool_choice: str | ToolChoiceObject | None = None
    parallel_tool_calls: bool | None = None
    functions: list[FunctionDefinition] | None = None
    function_call: str | FunctionName | None = None
    session_id: str | None = None  # of LayerScale's clients
    # refused unless they ask for nothing
    modalities: list[str] | None = None
    audio: Any = None
    moderation: Any = None
    verbosity: str | None = None
    web_search_options: Any = None
