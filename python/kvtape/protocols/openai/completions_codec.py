"""Raw completions: request bytes to parameters, results to reply bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import UNSET

from kvtape.errors import InvalidRequest
from kvtape.protocols.openai import models
from kvtape.protocols.openai.completions_models import CompletionsRequest, TextChoice, TextCompletion, TextLogprobs
from kvtape.protocols.openai.fields import read_count, read_include_usage, read_sampling
from kvtape.protocols.openai.logprobs import TextLogprobsEncoder, TokenBytes, WithText
from kvtape.protocols.openai.reply import encode_usage
from kvtape.protocols.openai.response_format import read_answer
from kvtape.protocols.requests import decode_request, refuse_all, refuse_unless
from kvtape.protocols.sampling import token_limit
from kvtape.protocols.sse import encode_event
from kvtape.types import MAX_CHOICES, FinishReason, SamplingParams, TokenEvent, Usage, check_bound

__all__ = [
    "CompletionsCall",
    "Echo",
    "TextStreamEncoder",
    "decode_completions_request",
    "encode_echo",
    "encode_text_completion",
]

DEFAULT_MAX_TOKENS = 16
DEFAULT_TEMPERATURE = 1.0


@dataclass(frozen=True, slots=True)
class CompletionsCall:
    """A checked request."""

    prompts: list[str | list[int]]
    params: SamplingParams
    stream: bool
    include_usage: bool
    n: int
    best_of: int  # at least n
    echo: bool
    logprobs: bool  # whether they are shown; the parameters may ask for them for the sake of best_of
    only_echo: bool = False  # max_tokens is 0: what is generated is not told


def decode_completions_request(body: bytes) -> CompletionsCall:
    """Decode and check the body of `POST /v1/completions`.

    Raises:
        InvalidRequest: with the JSON path in `param`.
    """
    request = decode_request(body, CompletionsRequest)
    refuse_all(request, ("suffix", "session_id"))
    prompts = _read_prompts(request.prompt)
    n = read_count("n", request.n)
    best_of = n if request.best_of is None else read_count("best_of", request.best_of)
    refuse_unless(best_of >= n, "best_of", f"must be at least n, which is {n}")
    refuse_unless(best_of == n or not request.stream, "best_of", "must equal n in a stream")
    if len(prompts) * best_of > MAX_CHOICES:
        raise InvalidRequest(
            f"{len(prompts)} prompts with {best_of} choices each are more than {MAX_CHOICES}", param="prompt"
        )
    can_be_empty = request.echo and not request.stream
    refuse_unless(request.max_tokens != 0 or bool(can_be_empty), "max_tokens", "may be 0 with echo, not in a stream")
    if request.logprobs is not None:
        check_bound("text_logprobs", request.logprobs, param="logprobs")
    return CompletionsCall(
        prompts=prompts,
        params=_read_params(request, logprobs=request.logprobs is not None or best_of > n),
        stream=bool(request.stream),
        include_usage=read_include_usage(request.stream, request.stream_options),
        n=n,
        best_of=best_of,
        echo=bool(request.echo),
        logprobs=request.logprobs is not None,
        only_echo=request.max_tokens == 0,
    )


def _read_prompts(prompt: Any) -> list[str | list[int]]:
    """Read a text, token ids, or a list of either; ids are integers here and checked against the model later."""
    if isinstance(prompt, str) or _is_ids(prompt):
        return [prompt]
    if not isinstance(prompt, list) or not prompt:
        raise InvalidRequest("prompt must be a text, token ids, or a list of either", param="prompt")
    if len(prompt) > MAX_CHOICES:
        raise InvalidRequest(f"prompt holds {len(prompt)} prompts, at most {MAX_CHOICES}", param="prompt")
    for index, item in enumerate(prompt):
        if not (isinstance(item, str) if isinstance(prompt[0], str) else _is_ids(item)):
            raise InvalidRequest(
                f"prompt[{index}] must be {'a text' if isinstance(prompt[0], str) else 'a list of token ids'}",
                param=f"prompt[{index}]",
            )
    return prompt


def _is_ids(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(type(item) is int for item in value)


def _read_params(request: CompletionsRequest, *, logprobs: bool) -> SamplingParams:
    max_tokens = DEFAULT_MAX_TOKENS if request.max_tokens is None else token_limit(request.max_tokens or 1, None)
    return read_sampling(
        request,
        max_tokens=max_tokens,
        temperature=DEFAULT_TEMPERATURE if request.temperature is None else request.temperature,
        top_p=request.top_p,
        logprobs=logprobs,
        top_logprobs=request.logprobs,
        constraint=read_answer(request),
    )


@dataclass(frozen=True, slots=True)
class Echo:
    """What the text of a choice begins with: its prompt where that is asked for, with its log-probabilities."""

    text: str = ""
    logprobs: TextLogprobs | None = None


def encode_echo(text: str, scores: Sequence[TokenEvent], token_bytes: TokenBytes, *, is_prefixed: bool = False) -> Echo:
    """Encode a prompt and the scores of its tokens.

    `token_bytes` shows special tokens too; `is_prefixed`: the tokens begin with a space that the text has not.
    """
    return Echo(text, TextLogprobsEncoder(token_bytes, offset=-is_prefixed).encode(scores))


class TextStreamEncoder:
    """Frames of one streamed reply: `start`, `event` for each event of each choice, `end`.

    Args:
        head: what every frame begins with.
        echoes: what each choice begins with.
        include_usage: whether `end` tells the usage.
        token_bytes: given where log-probabilities were asked.
    """

    def __init__(
        self,
        head: models.Head,
        echoes: Sequence[Echo],
        *,
        include_usage: bool = False,
        token_bytes: TokenBytes | None = None,
    ) -> None:
        self._head = head
        self._echoes = echoes
        self._include_usage = include_usage
        self._held = [WithText() for _ in echoes]
        self._logprobs = _logprobs_encoders(echoes, token_bytes)

    def start(self) -> bytes:
        """Frame the prompts, where they are echoed."""
        return b"".join(
            self._frame([TextChoice(echo.text, index, echo.logprobs)])
            for index, echo in enumerate(self._echoes)
            if echo.text
        )

    def event(self, index: int, event: TokenEvent) -> bytes:
        """Frame a token's text and the finish reason; empty while there is nothing to show."""
        if not (shown := self._held[index].push(event)):
            return b""
        logprobs = self._logprobs[index].encode(shown) if self._logprobs else None
        reason = None if event.finish_reason is None else str(event.finish_reason)
        return self._frame([TextChoice(event.text, index, logprobs, reason)])

    def end(self, usage: Usage) -> bytes:
        """Frame the usage where it was asked for."""
        return self._frame([], encode_usage(usage)) if self._include_usage else b""

    def _frame(self, choices: list[TextChoice], usage: models.UsageBody | None = None) -> bytes:
        chunk = TextCompletion(*self._head, choices, usage=usage if self._include_usage else UNSET)
        return encode_event(msgspec.json.encode(chunk))


def encode_text_completion(
    choices: Sequence[Sequence[TokenEvent]],
    echoes: Sequence[Echo],
    usage: Usage,
    head: models.Head,
    *,
    token_bytes: TokenBytes | None = None,
) -> bytes:
    """Encode a plain reply from all events of each choice, which may be none; arguments as of `TextStreamEncoder`."""
    encoders = _logprobs_encoders(echoes, token_bytes)
    encoded = []
    for index, (events, echo) in enumerate(zip(choices, echoes, strict=True)):
        logprobs = encoders[index].encode(events) if encoders else None
        if logprobs and echo.logprobs:
            logprobs = echo.logprobs.followed_by(logprobs)
        text = echo.text + "".join(event.text for event in events)
        reason = events[-1].finish_reason if events else FinishReason.LENGTH
        encoded.append(TextChoice(text, index, logprobs, str(reason)))
    return msgspec.json.encode(TextCompletion(*head, encoded, usage=encode_usage(usage)))


def _logprobs_encoders(echoes: Sequence[Echo], token_bytes: TokenBytes | None) -> list[TextLogprobsEncoder]:
    if token_bytes is None:
        return []
    return [TextLogprobsEncoder(token_bytes, offset=len(echo.text)) for echo in echoes]
