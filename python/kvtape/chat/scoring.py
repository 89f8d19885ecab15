"""What the model thinks of a text that is there already: the log-probability of each token of a prompt."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from kvtape.types import SamplingParams, TokenEvent

if TYPE_CHECKING:
    from kvtape.engine import AsyncSequence

__all__ = ["score"]

_TOGETHER = 32  # forks that run in one step


async def score(sequence: AsyncSequence, *, top_logprobs: int = 0) -> list[TokenEvent]:
    """Return an event for each token of a sequence, as if it had been generated; the first has no log-probability.

    A fork for each position draws the token that stands there, many in one step, in about the time of two prefills. The
    numerics contract makes the bits those of a generation.

    Raises:
        EngineFailed: the engine gave up.
        Overloaded: too many sequences are open.
    """
    await sequence.resident()
    token_ids = [int(token_id) for token_id in sequence.token_ids()]
    events = [TokenEvent(token_id, "") for token_id in token_ids[:1]]
    for begin in range(1, len(token_ids), _TOGETHER):
        with ExitStack() as stack:
            generations = []
            for position, token_id in enumerate(token_ids[begin : begin + _TOGETHER], begin):
                fork = sequence.fork()
                stack.callback(fork.close)
                fork.truncate(position)
                drawn = SamplingParams(
                    max_tokens=1, allowed_tokens=(token_id,), logprobs=True, top_logprobs=top_logprobs
                )
                generations.append(fork.generate(drawn))
                stack.callback(generations[-1].close)
            events += [await anext(generation) for generation in generations]
    return events
