"""From a row of logits to a token: bias, penalties, mask, temperature, top-k, top-p, min-p, draw; log-probabilities.

The order of the steps, and what each does to ties and infinities, is written in csrc/ops/sampling.h.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kvtape._native import _core
from kvtape.types import SamplingParams, TopLogprob

__all__ = [
    "SampleResult",
    "exp_weights",
    "log_softmax",
    "native_params",
    "run_max",
    "sample",
    "select_at_least",
    "uniform",
]


@dataclass(frozen=True, slots=True)
class SampleResult:
    """A token that was drawn, and what was asked about it."""

    token_id: int
    logprob: float | None  # of the logits as they came, before bias, penalties, temperature and truncation
    top_logprobs: tuple[TopLogprob, ...]
    logit_gap: float | None  # best minus second best raw logit, of the allowed tokens


def native_params(params: SamplingParams, *, seed: int = 0) -> _core.SamplingParams:
    """Return the part of the parameters that chooses a token; `seed` is used where `params` has none."""
    return _core.SamplingParams(
        temperature=params.temperature,
        top_k=params.top_k,
        top_p=params.top_p,
        min_p=params.min_p,
        repeat_penalty=params.repeat_penalty,
        repeat_last_n=params.repeat_last_n,
        frequency_penalty=params.frequency_penalty,
        presence_penalty=params.presence_penalty,
        logit_bias=list(params.logit_bias.items()),
        allowed_tokens=sorted(set(params.allowed_tokens)),
        seed=seed if params.seed is None else params.seed,
        choice=params.choice,
        logprobs=params.logprobs,
        top_logprobs=params.top_logprobs,
        logprob_ids=list(params.logprob_ids),
    )


def sample(
    logits: NDArray[np.float32],
    params: SamplingParams,
    *,
    recent: Sequence[int] | NDArray[np.int32] = (),
    mask: NDArray[np.bool_] | None = None,
    draw: int = 0,
    logit_gap: bool = False,
    vocab_size: int | None = None,
    isa: str | None = None,
) -> SampleResult | None:
    """Choose a token from logits [vocab_size]; None where no token can be drawn.

    recent are the token ids so far, prompt included, oldest first; mask [vocab_size] is True where a token is allowed;
    draw is the index of this token in its generation. A missing seed is 0 here. With vocab_size, logits are those of
    params.allowed_tokens alone, by ascending id; the answer is the same.

    Raises:
        InvalidRequest: a token id outside the vocabulary, or no logits.
    """
    words = np.zeros(0, np.uint64)
    if mask is not None:
        padded = np.zeros(-(-mask.size // 64) * 64, np.bool_)
        padded[: mask.size] = mask
        words = np.packbits(padded, bitorder="little").view("<u8").astype(np.uint64, copy=False)
    found = _core.sample(
        logits,
        native_params(params),
        recent=np.asarray(recent, np.int32),
        mask=words,
        draw=draw,
        logit_gap=logit_gap,
        vocab_size=vocab_size or 0,
        isa=isa or "",
    )
    if found is None:
        return None
    token_id, logprob, top, gap = found
    return SampleResult(
        token_id,
        logprob if params.logprobs else None,
        tuple(TopLogprob(*entry) for entry in top),
        gap if logit_gap else None,
    )


def log_softmax(logits: NDArray[np.float32], *, isa: str | None = None) -> NDArray[np.float32]:
    """Return the log-probabilities of logits [vocab_size]. Tokens at +inf share everything; NaN counts as -inf."""
    out = np.empty_like(logits)
    _core.log_softmax(logits, out, isa=isa or "")
    return out


def uniform(seed: int, choice: int, draw: int) -> float:
    """Return the random number in [0, 1) that decides draw `draw` of choice `choice` under `seed`."""
    return _core.uniform(seed, choice, draw)


def run_max(x: NDArray[np.float32], *, isa: str | None = None) -> NDArray[np.float32]:
    """Return the largest value of every 64 of x [n], NaN counting as -inf."""
    return _core.run_max(x, isa=isa or "")


def exp_weights(
    x: NDArray[np.float32], *, m: float, s: float, isa: str | None = None
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return exp((x - m) * s) of x [n], 0 for NaN, and its sums over every 512 values."""
    return _core.exp_weights(x, m=m, s=s, isa=isa or "")


def select_at_least(x: NDArray[np.float32], *, least: float, isa: str | None = None) -> NDArray[np.int32]:
    """Return the indices of x [n] whose value is at least `least`, ascending."""
    return _core.select_at_least(x, least=least, isa=isa or "")
