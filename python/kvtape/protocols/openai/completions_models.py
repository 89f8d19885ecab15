"""Raw completions: the objects on the wire."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from kvtape.protocols.openai.models import UsageBody
from kvtape.protocols.openai.request_models import SamplingFields, StreamOptions

__all__ = ["CompletionsRequest", "TextChoice", "TextCompletion", "TextLogprobs"]


class CompletionsRequest(SamplingFields, kw_only=True):
    """Body of `POST /v1/completions`. Every field here is honoured, inert, or refused by name in the codec."""

    prompt: Any = None  # a text, token ids, or a list of either
    model: str | None = None  # inert, as is `user`, which is not even looked at
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: int | None = None
    best_of: int | None = None
    echo: bool | None = None
    # sampling
    max_tokens: int | None = None
    logprobs: int | None = None
    # refused unless they ask for nothing
    suffix: str | None = None
    session_id: str | None = None


class TextLogprobs(msgspec.Struct):
    """Log-probabilities of a choice, an entry a token in each list; null for a token that nothing stands before."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]

    def followed_by(self, more: TextLogprobs) -> TextLogprobs:
        """Return the entries of both."""
        return TextLogprobs(
            self.tokens + more.tokens,
            self.token_logprobs + more.token_logprobs,
            self.top_logprobs + more.top_logprobs,
            self.text_offset + more.text_offset,
        )


class TextChoice(msgspec.Struct):
    """One choice, or what a chunk adds to it."""

    text: str
    index: int
    logprobs: TextLogprobs | None = None
    finish_reason: str | None = None


class TextCompletion(msgspec.Struct):
    """A plain reply, or a frame of a streamed one; `usage` as in chat."""

    id: str
    created: int
    model: str
    system_fingerprint: str
    choices: list[TextChoice]
    object: Literal["text_completion"] = "text_completion"
    usage: UsageBody | UnsetType | None = UNSET
