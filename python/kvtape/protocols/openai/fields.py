"""Fields that chat and raw completions share: from the wire to the parameter table, or refused by name."""

from __future__ import annotations

from typing import Any

from kvtape.errors import InvalidRequest
from kvtape.protocols.openai.request_models import SamplingFields, StreamOptions
from kvtape.protocols.requests import LATER, refuse_unless
from kvtape.protocols.sampling import read_stop, sampling_params
from kvtape.types import BOUNDS, SamplingParams, check_bound

__all__ = ["read_count", "read_include_usage", "read_sampling", "read_seed"]


def read_count(name: str, count: int | None) -> int:
    """Return `n` or `best_of`, 1 where there is none.

    Raises:
        InvalidRequest: out of bounds.
    """
    if count is None:
        return 1
    check_bound(name, count)
    return count


def read_include_usage(stream: bool | None, options: StreamOptions | None) -> bool:
    """Return whether a stream ends with its usage.

    Raises:
        InvalidRequest: options without a stream, or padding against observers, which is not added.
    """
    if options is None:
        return False
    refuse_unless(bool(stream), "stream_options", "needs stream to be true")
    refuse_unless(not options.include_obfuscation, "stream_options.include_obfuscation", LATER)
    return options.include_usage is True


def read_sampling(request: SamplingFields, **own: Any) -> SamplingParams:
    """Build parameters from the fields that both kinds of requests have; `own` are those that they read differently.

    Raises:
        InvalidRequest: a value is out of bounds; `param` names it.
    """
    return sampling_params(
        top_k=request.top_k,
        min_p=request.min_p,
        repeat_penalty=request.repeat_penalty,
        frequency_penalty=request.frequency_penalty,
        presence_penalty=request.presence_penalty,
        logit_bias=read_logit_bias(request.logit_bias),
        seed=read_seed(request.seed),
        stop=read_stop(request.stop),
        ignore_eos=request.ignore_eos,
        **own,
    )


def read_logit_bias(bias: dict[str, float] | None) -> dict[int, float] | None:
    """Read a map of token ids to biases.

    Raises:
        InvalidRequest: a key is no token id, or a bias not from -100 to 100.
    """
    if bias is None:
        return None
    for token, value in bias.items():
        if not (token.isascii() and token.isdecimal() and len(token) < 10) or not -100.0 <= value <= 100.0:
            raise InvalidRequest(
                f"logit_bias maps token ids to numbers from -100 to 100, found {token!r:.20}: {value}",
                param="logit_bias",
            )
    return {int(token): value for token, value in bias.items()}


def read_seed(seed: int | None) -> int | None:
    """Map the API's seeds, signed integers of 64 bits, onto the table's, which are unsigned."""
    if seed is not None and -(1 << 63) <= seed < 0:
        return seed + int(BOUNDS["seed"].maximum) + 1
    return seed
