"""The reply to a message: from its steps to a body, or to the frames of a stream."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence

import msgspec

from kvtape.protocols.anthropic.blocks import BlockWriter, join_blocks
from kvtape.protocols.anthropic.reply_models import (
    BlockEvent,
    Message,
    MessageChange,
    MessageDelta,
    MessageStart,
    MessageStop,
    OutputDetails,
    Ping,
    TokenCount,
    UsageBody,
)
from kvtape.protocols.sse import encode_event
from kvtape.types import ReplyFinish, ReplyStep, Usage

__all__ = ["PING", "MessageEncoder", "encode_count", "make_call_id"]

PING = encode_event(msgspec.json.encode(Ping()), event="ping")


def make_call_id() -> str:
    """Return a fresh id of a call."""
    return f"toolu_{secrets.token_hex(12)}"


def encode_count(n_tokens: int) -> bytes:
    """Encode the reply of count_tokens."""
    return msgspec.json.encode(TokenCount(n_tokens))


class MessageEncoder:
    """Encodes one reply from its steps: `start`, `step` for each and `finish` for a stream, or `body` for all of them.

    Args:
        message_id: id of the reply.
        model: name of the model.
        max_tokens: what the request allowed; a reply that was cut before has filled the context.
        pings: whether a ping follows the first block's start; LayerScale's clients raise at one.
        shows_thinking: whether thinking blocks show their text.
        make_id: makes the id of a call.
    """

    def __init__(
        self,
        *,
        message_id: str,
        model: str,
        max_tokens: int | None,
        pings: bool = False,
        shows_thinking: bool = True,
        make_id: Callable[[], str] = make_call_id,
    ) -> None:
        self._message_id = message_id
        self._model = model
        self._max_tokens = max_tokens
        self._pings = pings
        self._blocks = BlockWriter(make_id, shows_thinking=shows_thinking)
        self._n_thinking = 0  # tokens

    def start(self, n_prompt: int) -> bytes:
        """Frame the message, still empty, and the length of its prompt in tokens."""
        message = Message(self._message_id, self._model, [], UsageBody(n_prompt, 0, 0, 0))
        return _frame(MessageStart(message))

    def step(self, step: ReplyStep) -> bytes:
        """Frame what a step adds; empty where that is nothing."""
        before = self._blocks.n_blocks
        frames = [_frame(event) for event in self._write(step)]
        if self._pings and before == 0 and frames:
            frames.insert(1, PING)
        return b"".join(frames)

    def finish(self, last: ReplyStep, *, n_marked: int = 0) -> bytes:
        """Frame the end: the block's, if one is open, and the message's.

        Args:
            last: the last step, which has been framed.
            n_marked: tokens of the prompt up to the last `cache_control`.
        """
        events = [*self._blocks.end(), MessageDelta(self._change(last), self._usage(last, n_marked)), MessageStop()]
        return b"".join(_frame(event) for event in events)

    def body(self, steps: Sequence[ReplyStep], *, n_marked: int = 0) -> bytes:
        """Encode a plain reply: what a client would add the stream of the same steps up to."""
        events = [event for step in steps for event in self._write(step)]
        content, change = join_blocks(events + self._blocks.end()), self._change(steps[-1])
        usage = self._usage(steps[-1], n_marked)
        message = Message(self._message_id, self._model, content, usage, change.stop_reason, change.stop_sequence)
        return msgspec.json.encode(message)

    def _write(self, step: ReplyStep) -> list[BlockEvent]:
        self._n_thinking += step.token.in_reasoning
        return self._blocks.write(step.events)

    def _change(self, last: ReplyStep) -> MessageChange:
        """Return stop reason and stop sequence. Calls that are complete are to be run, whatever came behind them."""
        if last.finish is ReplyFinish.TOOL_CALLS:
            return MessageChange("tool_use", None)
        if last.token.stop_string is not None:
            return MessageChange("stop_sequence", last.token.stop_string)
        if last.finish is ReplyFinish.STOP:
            return MessageChange("end_turn", None)
        at_limit = _usage_of(last).completion_tokens == self._max_tokens
        return MessageChange("max_tokens" if at_limit else "model_context_window_exceeded", None)

    def _usage(self, last: ReplyStep, n_marked: int) -> UsageBody:
        """Return the counts; what was computed of the marked part of the prompt is what the cache gained by it."""
        usage = _usage_of(last)
        created = max(n_marked - usage.cached_tokens, 0)
        return UsageBody(
            input_tokens=usage.prompt_tokens - usage.cached_tokens - created,
            output_tokens=usage.completion_tokens,
            cache_creation_input_tokens=created,
            cache_read_input_tokens=usage.cached_tokens,
            output_tokens_details=OutputDetails(self._n_thinking) if self._n_thinking else None,
        )


def _usage_of(last: ReplyStep) -> Usage:
    if last.token.usage is None:
        raise ValueError("the last step of a reply carries the usage")
    return last.token.usage


def _frame(event: msgspec.Struct) -> bytes:
    return encode_event(msgspec.json.encode(event), event=str(event.__struct_config__.tag))
