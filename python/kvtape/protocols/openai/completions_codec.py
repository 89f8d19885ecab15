"""Raw completions: request bytes to parameters, results to reply bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import UNSET

from kvtape.errors import InvalidRequest
from kvtape.protocols.openai import models
from kvtape.protocols.openai.codec import encode_usage
from kvtape.protocols.openai.completions_models import CompletionsRequest, TextChoice, TextCompletion
from kvtape.protocols.openai.fields import (
    read_count,
    read_include_usage,
    read_logit_bias,
    read_seed,
    refuse_all,
)
from kvtape.protocols.openai.logprobs import TextLogprobsEncoder, TokenBytes, WithText
from kvtape.protocols.requests import decode_request, refuse_unless
from kvtape.protocols.sampling import read_stop, sampling_params, token_limit
from kvtape.protocols.sse import encode_event
from kvtape.types import MAX_CHOICES, SamplingParams, TokenEvent, Usage, check_bound

__all__ = ["CompletionsCall", "TextStreamEncoder", "decode_completions_request", "encode_text_completion"]

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


def decode_completions_request(body: bytes) -> CompletionsCall:
    """Decode and check the body of `POST /v1/completions`.

    Raises:
        InvalidRequest: with the JSON path in `param`.
    """
    request = decode_request(body, CompletionsRequest)
    refuse_all(request, ("suffix", "grammar", "regex", "session_id"))
    refuse_unless(request.response_format in (None, {"type": "text"}), "response_format", "is not supported here")
    prompts = _read_prompts(request.prompt)
    n = read_count("n", request.n)
    best_of = n if request.best_of is None else read_count("best_of", request.best_of)
    refuse_unless(best_of >= n, "best_of", f"must be at least n, which is {n}")
    refuse_unless(best_of == n or not request.stream, "best_of", "must equal n in a stream")
    if len(prompts) * best_of > MAX_CHOICES:
        raise InvalidRequest(
            f"{len(prompts)} prompts with {best_of} choices each are more than {MAX_CHOICES}", param="prompt"
        )
    if request.logprobs is not None:
        check_bound("text_logprobs", request.logprobs, param="logprobs")
        refuse_unless(not request.echo, "logprobs", "cannot be had of the prompt, which echo asks for")
    return CompletionsCall(
        prompts=prompts,
        params=_read_params(request, logprobs=request.logprobs is not None or best_of > n),
        stream=bool(request.stream),
        include_usage=read_include_usage(request.stream, request.stream_options),
        n=n,
        best_of=best_of,
        echo=bool(request.echo),
        logprobs=request.logprobs is not None,
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
    return sampling_params(
        max_tokens=DEFAULT_MAX_TOKENS if request.max_tokens is None else token_limit(request.max_tokens, None),
        temperature=DEFAULT_TEMPERATURE if request.temperature is None else request.temperature,
        top_p=request.top_p,
        top_k=request.top_k,
        min_p=request.min_p,
        repeat_penalty=request.repeat_penalty,
        frequency_penalty=request.frequency_penalty,
        presence_penalty=request.presence_penalty,
        logit_bias=read_logit_bias(request.logit_bias),
        seed=read_seed(request.seed),
        stop=read_stop(request.stop),
        ignore_eos=request.ignore_eos,
        logprobs=logprobs,
        top_logprobs=request.logprobs,
    )


class TextStreamEncoder:
    """Frames of one streamed reply: `start`, `event` for each event of each choice, `end`.

    Args:
        head: what every frame begins with.
        echoes: the text that each choice begins with, empty without `echo`.
        include_usage: whether `end` tells the usage.
        token_bytes: given where log-probabilities were asked.
    """

    def __init__(
        self,
        head: models.Head,
        echoes: Sequence[str],
        *,
        include_usage: bool = False,
        token_bytes: TokenBytes | None = None,
    ) -> None:
        self._head = head
        self._echoes = echoes
        self._include_usage = include_usage
        self._held = [WithText() for _ in echoes]
        self._logprobs = [TextLogprobsEncoder(token_bytes) for _ in echoes] if token_bytes else None

    def start(self) -> bytes:
        """Frame the prompts, where they are echoed."""
        return b"".join(self._frame([TextChoice(echo, index)]) for index, echo in enumerate(self._echoes) if echo)

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
    echoes: Sequence[str],
    usage: Usage,
    head: models.Head,
    *,
    token_bytes: TokenBytes | None = None,
) -> bytes:
    """Encode a plain reply from all events of each choice; arguments as of `TextStreamEncoder`."""
    encoded = [
        TextChoice(
            text=echo + "".join(event.text for event in events),
            index=index,
            logprobs=TextLogprobsEncoder(token_bytes).encode(events) if token_bytes else None,
            finish_reason=str(events[-1].finish_reason),
        )
        for index, (events, echo) in enumerate(zip(choices, echoes, strict=True))
    ]
    return msgspec.json.encode(TextCompletion(*head, encoded, usage=encode_usage(usage)))
