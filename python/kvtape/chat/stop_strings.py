"""Which stop string ended a reply: the engine leaves it open."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["matched_stop"]


def matched_stop(pieces: Sequence[bytes], stops: Sequence[str]) -> str | None:
    """Return the stop string that the last of a reply's tokens completes; None where it completes none.

    The engine's own rule (csrc/text/stop_matcher.h): the one that is complete first, of two that end together the
    longer.

    Args:
        pieces: what each generated token adds to the text.
        stops: the stop strings of the generation.
    """
    text = b"".join(pieces)
    longest_first = sorted(((stop.encode(), stop) for stop in stops), key=lambda pair: -len(pair[0]))
    for end in range(len(text) - len(pieces[-1]) + 1, len(text) + 1):
        for raw, stop in longest_first:
            if text.endswith(raw, 0, end):
                return stop
    return None
