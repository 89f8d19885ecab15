"""What a generation yields: its tokens, and why it ended."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["FinishReason", "TokenEvent", "TopLogprob", "Usage"]


class FinishReason(StrEnum):
    """Why a generation ended."""

    STOP = "stop"  # end-of-sequence token or a stop string
    LENGTH = "length"  # max_tokens, or the context is full
    CANCELLED = "cancelled"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class TopLogprob:
    """One of the most probable tokens at a position."""

    token_id: int
    logprob: float


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts of one generation, all true: prompt_tokens = cached_tokens + what was computed."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int  # prompt tokens whose KV was there already: held by the sequence or found in the prefix index


@dataclass(frozen=True, slots=True)
class TokenEvent:
    """One generated token. `text` holds whole characters only, so it may be empty."""

    token_id: int
    text: str
    in_reasoning: bool = False  # part of the reasoning, its markers included, as far as was known when it was drawn
    logprob: float | None = None  # of the model's own distribution, before temperature and truncation
    top_logprobs: tuple[TopLogprob, ...] = ()
    logit_gap: float | None = None  # raw logits of allowed tokens: best minus second best, on the first event only
    finish_reason: FinishReason | None = None  # on the last event only
    stop_string: str | None = None  # the one that ended the generation, on its last event
    usage: Usage | None = None  # on the first and on the last event

    @property
    def finished(self) -> bool:
        """Whether this is the last event of its generation."""
        return self.finish_reason is not None
