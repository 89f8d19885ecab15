"""Chat completions: request bytes to parameters, results to reply bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from kvtape.errors import InvalidRequest
from kvtape.protocols.openai import models
from kvtape.protocols.openai.fields import read_count, read_include_usage, read_sampling
from kvtape.protocols.openai.logprobs import TokenBytes, WithText, encode_chat_logprobs
from kvtape.protocols.requests import LATER, decode_request, refuse_all, refuse_unless
from kvtape.protocols.sampling import CHAT_TEMPERATURE, CHAT_TOP_P, token_limit
from kvtape.protocols.sse import encode_event
from kvtape.types import ReplyStep, SamplingParams, TokenEvent, Usage

__all__ = ["ChatCall", "ChatStreamEncoder", "decode_chat_request", "encode_completion", "encode_usage", "read_messages"]

_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
_LATER_IN_MESSAGES = (
    "tool_calls", "tool_call_id", "function_call", "reasoning", "reasoning_content", "audio", "refusal",
)  # fmt: skip
_NO_THINKING = ("none", "minimal", "low")
_THINKING = ("medium", "high", "xhigh", "max")
_SERVICE_TIER = "default"


@dataclass(frozen=True, slots=True)
class ChatCall:
    """A checked chat request."""

    messages: list[dict[str, Any]]
    params: SamplingParams
    stream: bool
    include_usage: bool
    n: int = 1
    service_tier: str | UnsetType = UNSET  # as the reply names it
    template_options: dict[str, Any] = field(default_factory=dict)


def decode_chat_request(body: bytes) -> ChatCall:
    """Decode and check the body of `POST /v1/chat/completions`.

    Raises:
        InvalidRequest: with the JSON path in `param`.
    """
    request = decode_request(body, models.ChatRequest)
    _refuse_unsupported(request)
    return ChatCall(
        messages=read_messages(request.messages),
        params=_read_params(request),
        stream=bool(request.stream),
        include_usage=read_include_usage(request.stream, request.stream_options),
        n=read_count("n", request.n),
        service_tier=UNSET if request.service_tier is None else _SERVICE_TIER,
        template_options=_template_options(request),
    )


def read_messages(messages: list[models.InputMessage], *, param: str = "messages") -> list[dict[str, Any]]:
    """Turn wire messages into the plain dictionaries a chat template renders.

    Raises:
        InvalidRequest: no messages, an unknown role, or content that is not text.
    """
    if not messages:
        raise InvalidRequest(f"{param} must hold at least one message", param=param)
    plain = []
    for index, message in enumerate(messages):
        path = f"{param}[{index}]"
        if message.role not in _ROLES:
            raise InvalidRequest(
                f"{path}.role must be one of {', '.join(_ROLES)}, found {message.role!r:.40}", param=f"{path}.role"
            )
        for name in _LATER_IN_MESSAGES:
            refuse_unless(not getattr(message, name), f"{path}.{name}", LATER)
        plain.append({"role": _ROLES[message.role], "content": _read_content(message.content, f"{path}.content")})
    return plain


def _read_content(content: str | list[models.ContentPart] | None, path: str) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    texts = []
    for index, part in enumerate(content):
        if part.type != "text":
            raise InvalidRequest(
                f"{path}[{index}].type {part.type!r:.40} is not supported, only text is", param=f"{path}[{index}].type"
            )
        if part.text is None:
            raise InvalidRequest(f"{path}[{index}].text is required", param=f"{path}[{index}].text")
        texts.append(part.text)
    return "".join(texts)


def _refuse_unsupported(request: models.ChatRequest) -> None:
    refuse_all(request, ("tools", "functions", "grammar", "regex", "audio", "moderation", "session_id"))
    refuse_unless(request.tool_choice in (None, "auto", "none"), "tool_choice", "needs tools")
    refuse_unless(request.function_call in (None, "auto", "none"), "function_call", "needs functions")
    refuse_unless(request.response_format in (None, {"type": "text"}), "response_format", LATER)
    refuse_unless(request.modalities in (None, ["text"]), "modalities", "must be ['text']")
    refuse_unless(request.web_search_options is None, "web_search_options", LATER)
    refuse_unless(request.verbosity in (None, "medium"), "verbosity", "must be 'medium'; there is no other here")
    tiers = (None, "auto", "default", "flex", "scale", "priority", "fast")
    refuse_unless(request.service_tier in tiers, "service_tier", "is not one that there is")
    refuse_unless(
        request.reasoning_effort in (None, *_NO_THINKING, *_THINKING),
        "reasoning_effort",
        f"must be one of {', '.join((*_NO_THINKING, *_THINKING))}",
    )


def _template_options(request: models.ChatRequest) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for name, value in (request.chat_template_kwargs or {}).items():
        path = f"chat_template_kwargs.{name}"
        if name == "date_string":
            refuse_unless(isinstance(value, str), path, "must be a string")
            options[name] = value
        elif name == "enable_thinking":
            refuse_unless(isinstance(value, bool), path, "must be a boolean")
            options[name] = value
        elif name in ("add_generation_prompt", "tools_in_user_message"):
            refuse_unless(value is True, path, "may only be true")
        else:
            raise InvalidRequest(f"{path} is not a known template option", param=path)
    if request.reasoning_effort is not None:
        options["enable_thinking"] = request.reasoning_effort in _THINKING
    return options


def _read_params(request: models.ChatRequest) -> SamplingParams:
    return read_sampling(
        request,
        max_tokens=token_limit(request.max_tokens, request.max_completion_tokens),
        temperature=CHAT_TEMPERATURE if request.temperature is None else request.temperature,
        top_p=CHAT_TOP_P if request.top_p is None else request.top_p,
        logprobs=request.logprobs,
        top_logprobs=request.top_logprobs,
    )


def encode_usage(usage: Usage) -> models.UsageBody:
    """Put token counts into the wire's shape."""
    return models.UsageBody(
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        total_tokens=usage.prompt_tokens + usage.completion_tokens,
        prompt_tokens_details=models.PromptTokensDetails(usage.cached_tokens),
    )


def encode_completion(
    choices: Sequence[Sequence[TokenEvent]],
    usage: Usage,
    head: models.Head,
    *,
    token_bytes: TokenBytes | None = None,
    service_tier: str | UnsetType = UNSET,
) -> bytes:
    """Encode a plain reply from all events of each choice; give `token_bytes` where log-probabilities were asked."""
    encoded = [
        models.Choice(
            message=models.OutputMessage("".join(event.text for event in events)),
            finish_reason=str(events[-1].finish_reason),
            logprobs=encode_chat_logprobs(events, token_bytes) if token_bytes else None,
            index=index,
        )
        for index, events in enumerate(choices)
    ]
    return msgspec.json.encode(models.Completion(*head, encoded, encode_usage(usage), service_tier=service_tier))


class ChatStreamEncoder:
    """Frames of one streamed reply: `start`, `event` for each event of each choice, `end`."""

    def __init__(
        self,
        head: models.Head,
        *,
        n: int = 1,
        include_usage: bool = False,
        token_bytes: TokenBytes | None = None,
        service_tier: str | UnsetType = UNSET,
    ) -> None:
        self._head = head
        self._include_usage = include_usage
        self._token_bytes = token_bytes
        self._service_tier = service_tier
        self._held = [WithText() for _ in range(n)]

    def start(self) -> bytes:
        """Frame the role of each choice."""
        role = models.Delta(role="assistant", content="")
        return b"".join(self._frame([models.ChunkChoice(role, index=index)]) for index in range(len(self._held)))

    def event(self, index: int, step: ReplyStep) -> bytes:
        """Frame a token's text, and the finish reason after the last; empty while there is nothing to show."""
        event = step.token
        shown = self._held[index].push(event) if self._token_bytes else []
        logprobs = encode_chat_logprobs(shown, self._token_bytes) if self._token_bytes and shown else None
        frames = b""
        if event.text:
            frames = self._frame([models.ChunkChoice(models.Delta(content=event.text), logprobs, index=index)])
            logprobs = None
        if event.finish_reason is not None:
            frames += self._frame([models.ChunkChoice(models.Delta(), logprobs, str(event.finish_reason), index)])
        return frames

    def end(self, usage: Usage) -> bytes:
        """Frame the usage where it was asked for."""
        return self._frame([], encode_usage(usage)) if self._include_usage else b""

    def _frame(self, choices: list[models.ChunkChoice], usage: models.UsageBody | None = None) -> bytes:
        chunk = models.Chunk(
            *self._head, choices, usage=usage if self._include_usage else UNSET, service_tier=self._service_tier
        )
        return encode_event(msgspec.json.encode(chunk))
