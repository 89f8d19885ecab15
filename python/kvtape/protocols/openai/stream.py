"""Chat completions: the steps of a reply to the frames of a streamed one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec
from msgspec import UNSET

from kvtape.protocols.openai import models
from kvtape.protocols.openai.logprobs import TokenBytes, encode_chat_logprobs
from kvtape.protocols.openai.reply import ReplyForm, call_id, encode_finish, encode_usage, shown_events
from kvtape.protocols.sse import encode_event
from kvtape.types import (
    ContentDelta,
    Event,
    ReasoningDelta,
    ReplyStep,
    TokenEvent,
    ToolCallArguments,
    ToolCallStart,
    Usage,
)

__all__ = ["ChatStreamEncoder"]


@dataclass(slots=True)
class _Choice:
    """What a choice holds back: tokens whose log-probabilities go out with the next frame, and whole reasoning."""

    tokens: list[TokenEvent] = field(default_factory=list)
    reasoning: str = ""
    is_empty: bool = True  # nothing has been shown


class ChatStreamEncoder:
    """Frames of one streamed reply: `start`, `event` for each step of each choice, `end`.

    Together the frames say what `encode_completion` says of the same steps.

    Args:
        head: what every frame begins with.
        form: how the request wants it.
        n: number of choices.
        reasons: whether the model may reason.
        include_usage: whether `end` tells the usage.
        token_bytes: given where log-probabilities were asked.
    """

    def __init__(
        self,
        head: models.Head,
        form: ReplyForm,
        *,
        n: int = 1,
        reasons: bool = False,
        include_usage: bool = False,
        token_bytes: TokenBytes | None = None,
    ) -> None:
        self._head = head
        self._form = form
        self._content = None if form.calls or reasons else ""  # None: there may be a reply without any
        self._include_usage = include_usage
        self._token_bytes = token_bytes
        self._service_tier = UNSET if form.service_tier is None else form.service_tier
        self._choices = [_Choice() for _ in range(n)]
        self._n_reasoning = 0

    def start(self) -> bytes:
        """Frame the role of each choice, all before the first text: clients count the choices as they come."""
        role = models.Delta(role="assistant", content=self._content, refusal=None)
        return b"".join(self._frame([models.ChunkChoice(role, index=index)]) for index in range(len(self._choices)))

    def event(self, index: int, step: ReplyStep) -> bytes:
        """Frame what a step adds, and the finish reason after the last; empty while there is nothing to show."""
        choice = self._choices[index]
        self._n_reasoning += step.token.in_reasoning
        if self._token_bytes:
            choice.tokens.append(step.token)
        frames = []
        for event in shown_events(step, self._form):
            for delta in self._deltas(index, event):
                choice.is_empty = False
                frames.append(self._frame([models.ChunkChoice(delta, self._logprobs(choice), index=index)]))
        if step.finish is not None:
            if choice.reasoning:
                frames.append(self._frame([models.ChunkChoice(self._whole_reasoning(choice), index=index)]))
            delta = models.Delta(content="") if choice.is_empty and self._content is None else models.Delta()
            reason = encode_finish(step.finish, self._form)
            frames.append(self._frame([models.ChunkChoice(delta, self._logprobs(choice), reason, index)]))
        return b"".join(frames)

    def end(self, usage: Usage) -> bytes:
        """Frame the usage where it was asked for."""
        return self._frame([], encode_usage(usage, self._n_reasoning)) if self._include_usage else b""

    def _deltas(self, index: int, event: Event) -> Iterator[models.Delta]:
        choice = self._choices[index]
        if isinstance(event, ReasoningDelta):
            choice.reasoning += event.text
            if self._form.stream_reasoning:
                yield self._whole_reasoning(choice)
            return
        if choice.reasoning:
            yield self._whole_reasoning(choice)
        match event:
            case ContentDelta(text):
                yield models.Delta(content=text)
            case ToolCallStart(number, name):
                function = models.FunctionDelta(name, "")
                if self._form.legacy:
                    yield models.Delta(function_call=function)
                else:
                    identity = call_id(self._head, index, number)
                    yield models.Delta(tool_calls=[models.ToolCallDelta(number, function, identity, "function")])
            case ToolCallArguments(number, text):
                function = models.FunctionDelta(arguments=text)
                if self._form.legacy:
                    yield models.Delta(function_call=function)
                else:
                    yield models.Delta(tool_calls=[models.ToolCallDelta(number, function)])

    def _whole_reasoning(self, choice: _Choice) -> models.Delta:
        text, choice.reasoning = choice.reasoning, ""
        choice.is_empty = False
        return models.Delta(reasoning=text, reasoning_content=text)

    def _logprobs(self, choice: _Choice) -> models.Logprobs | None:
        """Return those of the tokens since the last frame that had any."""
        if not self._token_bytes or not choice.tokens:
            return None
        shown, choice.tokens = choice.tokens, []
        return encode_chat_logprobs(shown, self._token_bytes)

    def _frame(self, choices: list[models.ChunkChoice], usage: models.UsageBody | None = None) -> bytes:
        chunk = models.Chunk(
            *self._head, choices, usage=usage if self._include_usage else UNSET, service_tier=self._service_tier
        )
        return encode_event(msgspec.json.encode(chunk))
