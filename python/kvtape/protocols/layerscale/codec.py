"""LayerScale: request bytes to checked values, results and events to reply bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from kvtape.errors import InvalidRequest
from kvtape.protocols.layerscale import models
from kvtape.protocols.requests import decode_request, refuse_unless
from kvtape.protocols.sampling import read_stop, sampling_params, token_limit
from kvtape.protocols.sse import encode_event
from kvtape.types import SamplingParams

__all__ = [
    "CreateCall",
    "GenerateCall",
    "decode_append",
    "decode_create",
    "decode_flash",
    "decode_generate",
    "decode_push",
    "encode_frame",
    "encode_session_event",
]

STREAM_TYPES = ("ohlcv", "iot", "spatial", "event", "vitals")
DEFAULT_MAX_TOKENS = 256
DEFAULT_FLASH_TOKENS = 32
MAX_FLASH_TOKENS = 256

_CREATE_ALIASES = {
    "markPrefix": "mark_prefix",
    "context_size": "context",
    "contextSize": "context",
    "windowSize": "window_size",
    "window": "window_size",
}
_FLASH_ALIASES = {"maxTokens": "max_tokens"}
_GENERATE_ALIASES = {"maxTokens": "max_tokens", "fastAnswer": "fast_answer", "clearAfter": "clear_after"}


@dataclass(frozen=True, slots=True)
class CreateCall:
    """A checked gen-1 session creation; `flash` holds (query, max_tokens)."""

    type: str
    prompt: str
    context: int | None
    flash: tuple[tuple[str, int], ...]
    mark_prefix: bool


@dataclass(frozen=True, slots=True)
class GenerateCall:
    """A checked question to a session; without a prompt the session's context is continued."""

    prompt: str | None
    params: SamplingParams
    stream: bool
    fast_answer: bool | None
    clear_after: bool


def decode_create(body: bytes) -> CreateCall:
    """Decode `POST /v1/sessions/init`.

    Raises:
        InvalidRequest: with the JSON path in `param`.
    """
    request = decode_request(body, models.CreateRequest, _CREATE_ALIASES)
    if request.type not in STREAM_TYPES:
        raise InvalidRequest(f"type must be one of {', '.join(STREAM_TYPES)}, found {request.type!r:.40}", param="type")
    refuse_unless(not request.window_size, "window_size", "must be 0; sliding windows are not supported by this server")
    if request.context is not None and request.context < 1:
        raise InvalidRequest(f"context must be a positive number of tokens, found {request.context}", param="context")
    flash = []
    for index, item in enumerate(request.flash or ()):
        entry = models.FlashInit(item) if isinstance(item, str) else item
        max_tokens = entry.maxTokens if entry.max_tokens is None else entry.max_tokens
        flash.append((_flash_text(entry.query, f"flash[{index}].query"), _flash_tokens(max_tokens)))
    return CreateCall(request.type, request.prompt or "", request.context, tuple(flash), bool(request.mark_prefix))


def decode_append(body: bytes) -> str:
    """Decode `POST …/append`.

    Raises:
        InvalidRequest: no text.
    """
    return decode_request(body, models.AppendRequest).text


def decode_push(body: bytes, row_type: Any = Any) -> list[Any]:
    """Decode `POST …/stream/push`; the rows themselves are checked by the session's schema.

    Rows come as `row_type`, in one pass over the text. Where one does not fit it, all come as plain objects, for the
    schema to name the field.

    Raises:
        InvalidRequest: `data` is not a list.
    """
    try:
        return msgspec.json.decode(body.decode(), type=models.PushRequest[row_type]).data
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return decode_request(body, models.PushRequest[Any]).data


def decode_flash(body: bytes) -> tuple[str, int]:
    """Decode `POST …/flash` into (query, max_tokens); the number is clamped, never refused.

    Raises:
        InvalidRequest: the query is missing or empty.
    """
    request = decode_request(body, models.FlashRequest, _FLASH_ALIASES)
    return _flash_text(request.query, "query"), _flash_tokens(request.max_tokens)


def decode_generate(body: bytes) -> GenerateCall:
    """Decode `POST …/generate` of a gen-1 session.

    Raises:
        InvalidRequest: with the JSON path in `param`.
    """
    request = decode_request(body, models.GenerateRequest, _GENERATE_ALIASES)
    for name in ("messages", "tools", "reasoning_effort", "chat_template_kwargs"):
        refuse_unless(not getattr(request, name), name, "is not supported by this server on session generate")
    refuse_unless(
        not isinstance(request.fast_answer, list), "fast_answer", "must be a boolean on a session with typed data"
    )
    refuse_unless(request.gap_threshold is None, "gap_threshold", "needs a list of candidates in fast_answer")
    if request.clear_after is not None and request.clear_after < 0:
        raise InvalidRequest(f"clear_after must not be negative, found {request.clear_after}", param="clear_after")
    if request.prompt == "":
        raise InvalidRequest("prompt must not be empty; leave it out to continue the context", param="prompt")
    params = sampling_params(
        max_tokens=token_limit(request.max_tokens, request.max_completion_tokens) or DEFAULT_MAX_TOKENS,
        temperature=request.temperature,
        top_p=request.top_p,
        seed=request.seed,
        ignore_eos=request.ignore_eos,
        stop=read_stop(request.stop),
    )
    return GenerateCall(
        prompt=request.prompt,
        params=params,
        stream=bool(request.stream),
        fast_answer=request.fast_answer if isinstance(request.fast_answer, bool) else None,
        clear_after=bool(request.clear_after),
    )


def encode_frame(frame: models.GenerateToken | models.Generated) -> bytes:
    """Frame one piece of a streamed answer (dialect A: no event name)."""
    return encode_event(msgspec.json.encode(frame))


def encode_session_event(
    event: models.Connected | models.FlashReady | models.DataUpdated, number: int | None = None
) -> bytes:
    """Frame one event of a session (dialect B); the name is in the payload too, where some clients look for it.

    `number` is what a client sends as `Last-Event-ID` to go on behind it.
    """
    return encode_event(msgspec.json.encode(event), event=str(type(event).__struct_config__.tag), number=number)


def _flash_text(query: str, path: str) -> str:
    if not query.strip():
        raise InvalidRequest(f"{path} must not be empty", param=path)
    return query


def _flash_tokens(max_tokens: int | None) -> int:
    return DEFAULT_FLASH_TOKENS if max_tokens is None else min(max(max_tokens, 1), MAX_FLASH_TOKENS)
