"""Why a reply ended, in the words that chat dialects share."""

from __future__ import annotations

from kvtape.types import FinishReason, ReplyFinish

__all__ = ["finish_reason"]


def finish_reason(reason: FinishReason, *, n_calls: int = 0, n_incomplete: int = 0) -> ReplyFinish:
    """Return why a reply ended, from why its generation did and from its tool calls.

    The limit goes first: a reply that was cut may have wanted more calls, and its last one may be cut. Only when each
    call is complete may a client take them for what the model wants done.

    Raises:
        ValueError: the generation did not end by itself; that is an error, not a reply.
    """
    if reason is FinishReason.LENGTH:
        return ReplyFinish.LENGTH
    if reason is not FinishReason.STOP:
        raise ValueError(f"a generation that ended with {reason} is no reply")
    return ReplyFinish.TOOL_CALLS if n_calls and not n_incomplete else ReplyFinish.STOP
