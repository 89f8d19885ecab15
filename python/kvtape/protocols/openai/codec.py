"""Chat completions: request bytes to parameters, results to reply bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec
from msgspec import UNSET

from kvtape.errors import InvalidRequest
from kvtape.protocols.openai import models
from kvtape.protocols.requests import decode_request, refuse_unless
from kvtape.protocols.sampling import read_stop, sampling_params, token_limit
from kvtape.protocols.sse import encode_event
from kvtape.types import FinishReason, SamplingParams, TokenEvent, Usage

__all__ = ["ChatCall", "ChatStreamEncoder", "decode_chat_request", "encode_completion", "encode_usage", "read_messages"]

DEFAULT_TEMPERATURE = 0.6
DEFAULT_TOP_P = 0.9

_ROLES = ("system", "user", "assistant")
_NO_THINKING = ("none", "minimal", "low")
_THINKING = ("medium", "high", "xhigh", "max")
_LATER = "is not supported by this server"


@dataclass(frozen=True, slots=True)
class ChatCall:
    """A checked chat request."""

    messages: list[dict[str, Any]]
    params: SamplingParams
    stream: bool
    include_usage: bool
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
        include_usage=request.stream_options is not None and request.stream_options.include_usage is True,
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
        for name in ("tool_calls", "tool_call_id", "reasoning", "reasoning_content"):
            refuse_unless(not getattr(message, name), f"{path}.{name}", _LATER)
        plain.append({"role": message.role, "content": _read_content(message.content, f"{path}.content")})
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
    refuse_unless(request.n in (None, 1), "n", "must be 1; several choices are not supported by this server")
    refuse_unless(not request.tools, "tools", _LATER)
    refuse_unless(request.tool_choice in (None, "auto", "none"), "tool_choice", "needs tools")
    refuse_unless(not request.functions, "functions", _LATER)
    refuse_unless(request.function_call in (None, "auto", "none"), "function_call", "needs functions")
    refuse_unless(request.response_format in (None, {"type": "text"}), "response_format", _LATER)
    refuse_unless(request.modalities in (None, ["text"]), "modalities", "must be ['text']")
    for name in ("audio", "prediction", "web_search_options"):
        refuse_unless(getattr(request, name) is None, name, _LATER)
    refuse_unless(request.session_id is None, "session_id", "is not supported by this server on chat completions")
    refuse_unless(request.stream_options is None or bool(request.stream), "stream_options", "needs stream to be true")
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
    return sampling_params(
        max_tokens=token_limit(request.max_tokens, request.max_completion_tokens),
        temperature=DEFAULT_TEMPERATURE if request.temperature is None else request.temperature,
        top_p=DEFAULT_TOP_P if request.top_p is None else request.top_p,
        top_k=request.top_k,
        min_p=request.min_p,
        repeat_penalty=request.repeat_penalty,
        frequency_penalty=request.frequency_penalty,
        presence_penalty=request.presence_penalty,
        logit_bias=_read_logit_bias(request.logit_bias),
        seed=request.seed,
        stop=read_stop(request.stop),
        ignore_eos=request.ignore_eos,
        logprobs=request.logprobs,
        top_logprobs=request.top_logprobs,
    )


def _read_logit_bias(bias: dict[str, float] | None) -> dict[int, float] | None:
    if bias is None:
        return None
    for token, value in bias.items():
        if not token.isdecimal() or not -100.0 <= value <= 100.0:
            raise InvalidRequest(
                f"logit_bias maps token ids to numbers from -100 to 100, found {token!r:.20}: {value}",
                param="logit_bias",
            )
    return {int(token): value for token, value in bias.items()}


def encode_usage(usage: Usage) -> models.UsageBody:
    """Put token counts into the wire's shape."""
    return models.UsageBody(
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        total_tokens=usage.prompt_tokens + usage.completion_tokens,
        prompt_tokens_details=models.PromptTokensDetails(usage.cached_tokens),
    )


def _encode_logprobs(events: Iterable[TokenEvent], token_bytes: Callable[[int], bytes]) -> models.Logprobs:
    def spell(token_id: int) -> tuple[str, list[int]]:
        raw = token_bytes(token_id)
        return raw.decode("utf-8", "replace"), list(raw)

    entries = []
    for event in events:
        token, raw = spell(event.token_id)
        top = []
        for alternative in event.top_logprobs:
            other, other_raw = spell(alternative.token_id)
            top.append(models.TopTokenLogprob(other, _finite(alternative.logprob), other_raw))
        entries.append(models.TokenLogprob(token, _finite(event.logprob or 0.0), raw, top))
    return models.Logprobs(entries)


def _finite(logprob: float) -> float:
    return max(logprob, -9999.0)  # JSON has no -inf


def encode_completion(
    events: list[TokenEvent],
    *,
    completion_id: str,
    created: int,
    model: str,
    token_bytes: Callable[[int], bytes] | None = None,
) -> bytes:
    """Encode a plain reply from all events of its generation; give `token_bytes` where log-probabilities were asked."""
    last = events[-1]
    if last.finish_reason is None or last.usage is None:
        raise ValueError("the last event of a generation carries finish_reason and usage")
    choice = models.Choice(
        message=models.OutputMessage("".join(event.text for event in events)),
        finish_reason=str(last.finish_reason),
        logprobs=_encode_logprobs(events, token_bytes) if token_bytes else None,
    )
    completion = models.Completion(completion_id, created, model, [choice], encode_usage(last.usage))
    return msgspec.json.encode(completion)


class ChatStreamEncoder:
    """Frames of one streamed reply, in order: `start`, `token` for each event, `finish`."""

    def __init__(
        self,
        *,
        completion_id: str,
        created: int,
        model: str,
        include_usage: bool = False,
        token_bytes: Callable[[int], bytes] | None = None,
    ) -> None:
        self._head = (completion_id, created, model)
        self._include_usage = include_usage
        self._token_bytes = token_bytes
        self._events: list[TokenEvent] = []

    def start(self) -> bytes:
        """Frame the role."""
        return self._frame([models.ChunkChoice(models.Delta(role="assistant", content=""))])

    def token(self, event: TokenEvent) -> bytes:
        """Frame a token's text; empty while the token has none to show."""
        if self._token_bytes:
            self._events.append(event)
        return self._frame([models.ChunkChoice(models.Delta(content=event.text))]) if event.text else b""

    def finish(self, reason: FinishReason, usage: Usage) -> bytes:
        """Frame the end: the finish reason with all log-probabilities, then the usage where it was asked for."""
        logprobs = _encode_logprobs(self._events, self._token_bytes) if self._token_bytes else None
        end = self._frame([models.ChunkChoice(models.Delta(), logprobs=logprobs, finish_reason=str(reason))])
        return end + self._frame([], encode_usage(usage)) if self._include_usage else end

    def _frame(self, choices: list[models.ChunkChoice], usage: models.UsageBody | None = None) -> bytes:
        chunk = models.Chunk(*self._head, choices, usage=usage if self._include_usage else UNSET)
        return encode_event(msgspec.json.encode(chunk))
