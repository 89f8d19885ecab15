"""From a dialect's sampling fields to the one parameter table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kvtape.errors import InvalidRequest
from kvtape.types import SamplingParams

__all__ = ["CHAT_TEMPERATURE", "CHAT_TOP_P", "read_stop", "sampling_params", "token_limit"]

CHAT_TEMPERATURE, CHAT_TOP_P = 0.6, 0.9  # of chats that name none

_MAX_STOP_STRINGS = 4
_MAX_STOP_BYTES = 64


def sampling_params(**fields: Any) -> SamplingParams:
    """Build parameters from the fields that were given; a field that is None keeps the table's default.

    Raises:
        InvalidRequest: a value is out of bounds; `param` names it.
    """
    return SamplingParams(**{name: value for name, value in fields.items() if value is not None})


def read_stop(
    stop: str | Sequence[str] | None,
    *,
    name: str = "stop",
    max_strings: int = _MAX_STOP_STRINGS,
    max_bytes: int = _MAX_STOP_BYTES,
) -> tuple[str, ...]:
    """Read stop strings: one, or a list of them.

    Raises:
        InvalidRequest: too many, empty, or too long; `param` is `name`.
    """
    strings = (stop,) if isinstance(stop, str) else tuple(stop or ())
    if len(strings) > max_strings:
        raise InvalidRequest(f"{name} has {len(strings)} strings, at most {max_strings}", param=name)
    for string in strings:
        if not 0 < len(string.encode()) <= max_bytes:
            raise InvalidRequest(f"each string of {name} has 1 to {max_bytes} bytes, found {string!r:.80}", param=name)
    return strings


def token_limit(max_tokens: int | None, max_completion_tokens: int | None) -> int | None:
    """Return the cap a request sets; the older name wins.

    Raises:
        InvalidRequest: the value is below 1; `param` is the name the client used.
    """
    for name, value in (("max_tokens", max_tokens), ("max_completion_tokens", max_completion_tokens)):
        if value is not None:
            if value < 1:
                raise InvalidRequest(f"{name} must be at least 1, found {value}", param=name)
            return value
    return None
