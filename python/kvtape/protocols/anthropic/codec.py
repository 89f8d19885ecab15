"""Messages: request bytes to parameters, results to reply bytes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from kvtape.errors import InvalidRequest
from kvtape.protocols.anthropic import models
from kvtape.protocols.anthropic.conversation import Prompt, read_prompt
from kvtape.protocols.requests import LATER, decode_request, refuse_all, refuse_unless
from kvtape.protocols.sampling import CHAT_TEMPERATURE, CHAT_TOP_P, read_stop, sampling_params
from kvtape.protocols.sse import encode_event
from kvtape.types import MAX_STOP_BYTES, MAX_STOP_STRINGS, FinishReason, SamplingParams, Usage

__all__ = [
    "PING",
    "Ending",
    "MessageCall",
    "MessageStreamEncoder",
    "decode_count_request",
    "decode_message_request",
    "encode_count",
    "encode_message",
]

PING = encode_event(msgspec.json.encode(models.Ping()), event="ping")


@dataclass(frozen=True, slots=True)
class MessageCall:
    """A checked request; what counts tokens has no use for the last two."""

    prompt: Prompt
    template_options: dict[str, Any]
    params: SamplingParams = field(default_factory=SamplingParams)
    stream: bool = False


def decode_message_request(body: bytes) -> MessageCall:
    """Decode and check the body of `POST /v1/messages`.

    Raises:
        InvalidRequest: with the JSON path in `param`.
    """
    request = decode_request(body, models.MessageRequest)
    call = _read_call(request)
    refuse_all(request, ("container", "diagnostics", "billing_policy", "fallbacks", "fallback_credit_token", "thread"))
    refuse_unless(request.inference_geo is None, "inference_geo", "cannot be promised by this server")
    refuse_unless(
        request.service_tier in (None, "auto", "standard_only"), "service_tier", "must be auto or standard_only"
    )
    return replace(call, params=_read_params(request), stream=bool(request.stream))


def decode_count_request(body: bytes) -> MessageCall:
    """Decode and check the body of `POST /v1/messages/count_tokens`; fields that do not change the prompt are ignored.

    Raises:
        InvalidRequest: with the JSON path in `param`.
    """
    return _read_call(decode_request(body, models.CountRequest))


def _read_call(request: models.CountRequest) -> MessageCall:
    refuse_all(request, ("tools", "mcp_servers", "context_management", "compaction", "output_format"))
    choice = request.tool_choice
    refuse_unless(
        choice is None or (isinstance(choice, dict) and choice.get("type") in ("auto", "none")),
        "tool_choice",
        "needs tools",
    )
    refuse_unless(request.speed in (None, "standard"), "speed", "must be standard")
    refuse_unless(request.session_id is None, "session_id", "is not supported by this server on messages")
    return MessageCall(
        prompt=read_prompt(request.system, request.messages, mark_last=request.cache_control is not None),
        template_options=_template_options(request),
    )


def _template_options(request: models.CountRequest) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if request.output_config is not None:
        refuse_unless(request.output_config.format is None, "output_config.format", LATER)
        if request.output_config.effort is not None:
            options["enable_thinking"] = request.output_config.effort != "low"
    if request.thinking is not None:
        refuse_unless(
            request.thinking.type == "disabled", "thinking.type", "must be disabled; thinking blocks are not supported"
        )
        options["enable_thinking"] = False
    return options


def _read_params(request: models.MessageRequest) -> SamplingParams:
    temperature = request.temperature
    if temperature is not None and not 0.0 <= temperature <= 1.0:
        raise InvalidRequest(
            f"temperature must be a number from 0 to 1, found {temperature!r:.40}", param="temperature"
        )
    return sampling_params(
        max_tokens=request.max_tokens,
        temperature=CHAT_TEMPERATURE if temperature is None else temperature,
        top_p=CHAT_TOP_P if request.top_p is None else request.top_p,
        top_k=request.top_k,
        seed=request.seed,
        stop=read_stop(
            request.stop_sequences, name="stop_sequences", max_strings=MAX_STOP_STRINGS, max_bytes=MAX_STOP_BYTES
        ),
        ignore_eos=request.ignore_eos,
    )


def encode_count(n_tokens: int) -> bytes:
    """Encode the reply of count_tokens."""
    return msgspec.json.encode(models.TokenCount(n_tokens))


@dataclass(frozen=True, slots=True)
class Ending:
    """How a reply ended: what the engine says, and what only its reader knows.

    Args:
        reason: as the engine says it.
        usage: the engine's counts.
        stop_sequence: the stop string that ended it, if one did.
        max_tokens: what the request allowed; a reply that is cut before filled the context.
        n_marked: tokens of the prompt up to the last `cache_control`.
    """

    reason: FinishReason
    usage: Usage
    stop_sequence: str | None
    max_tokens: int | None
    n_marked: int = 0

    def change(self) -> models.MessageChange:
        """Return stop reason and stop sequence."""
        if self.stop_sequence is not None:
            reason = "stop_sequence"
        elif self.reason is FinishReason.STOP:
            reason = "end_turn"
        elif self.usage.completion_tokens == self.max_tokens:
            reason = "max_tokens"
        else:
            reason = "model_context_window_exceeded"
        return models.MessageChange(reason, self.stop_sequence)

    def usage_body(self) -> models.UsageBody:
        """Return the counts; what was computed of the marked part of the prompt is what the cache gained by it."""
        prompt, cached = self.usage.prompt_tokens, self.usage.cached_tokens
        created = max(self.n_marked - cached, 0)
        return models.UsageBody(prompt - cached - created, self.usage.completion_tokens, created, cached)


def encode_message(text: str, ending: Ending, *, message_id: str, model: str) -> bytes:
    """Encode a plain reply."""
    change = ending.change()
    content = [models.TextBlock(text)] if text else []
    return msgspec.json.encode(
        models.Message(message_id, model, content, ending.usage_body(), change.stop_reason, change.stop_sequence)
    )


class MessageStreamEncoder:
    """Frames of one streamed reply, in order: `start`, `text` for each piece, `finish`. Blocks open when they begin.

    Args:
        message_id: id of the reply.
        model: name of the model.
        pings: whether a ping follows the first block's start; LayerScale's clients raise at one.
    """

    def __init__(self, *, message_id: str, model: str, pings: bool) -> None:
        self._message_id = message_id
        self._model = model
        self._pings = pings
        self._n_blocks = 0
        self._open = False

    def start(self, n_prompt: int) -> bytes:
        """Frame the message, still empty, and the length of its prompt in tokens."""
        message = models.Message(self._message_id, self._model, [], models.UsageBody(n_prompt, 0))
        return _frame(models.MessageStart(message))

    def text(self, piece: str) -> bytes:
        """Frame a piece of the answer; empty while there is none to show."""
        if not piece:
            return b""
        opening = b"" if self._open else self._open_block(models.TextBlock(""))
        return opening + _frame(models.BlockDelta(self._n_blocks - 1, models.TextDelta(piece)))

    def finish(self, ending: Ending) -> bytes:
        """Frame the end: the block's, if one is open, and the message's."""
        return (
            self._close_block()
            + _frame(models.MessageDelta(ending.change(), ending.usage_body()))
            + _frame(models.MessageStop())
        )

    def _open_block(self, block: models.TextBlock) -> bytes:
        closing = self._close_block()
        self._open = True
        self._n_blocks += 1
        opening = _frame(models.BlockStart(self._n_blocks - 1, block))
        return closing + opening + (PING if self._pings and self._n_blocks == 1 else b"")

    def _close_block(self) -> bytes:
        if not self._open:
            return b""
        self._open = False
        return _frame(models.BlockStop(self._n_blocks - 1))


def _frame(event: msgspec.Struct) -> bytes:
    return encode_event(msgspec.json.encode(event), event=str(event.__struct_config__.tag))
