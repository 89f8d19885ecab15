"""How tokens are drawn: sampling parameters with their bounds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from kvtape.errors import InvalidRequest

__all__ = [
    "BOUNDS",
    "MAX_ALLOWED_TOKENS",
    "MAX_CHOICES",
    "MAX_CLOSE_IDS",
    "MAX_LOGIT_BIAS",
    "MAX_LOGPROB_IDS",
    "MAX_SHOWN_TOKENS",
    "MAX_STOP_BYTES",
    "MAX_STOP_STRINGS",
    "REQUEST_BOUNDS",
    "Bound",
    "Constraint",
    "ConstraintKind",
    "ReasoningSpan",
    "SamplingParams",
    "WorkClass",
    "check_bound",
]


class WorkClass(StrEnum):
    """Who goes first when the engine cannot serve everybody in one step."""

    INTERACTIVE = "interactive"
    INGEST = "ingest"
    FLASH = "flash"
    BACKGROUND = "background"


@dataclass(frozen=True, slots=True)
class Bound:
    """Closed range of a number."""

    minimum: float
    maximum: float
    integer: bool = False


MAX_CHOICES = 128  # generations of one request: its prompts times the choices of each

# The one table of sampling parameters: every dialect maps its names onto these and takes its limits from here.
BOUNDS: dict[str, Bound] = {
    "max_tokens": Bound(1, 1 << 20, integer=True),
    "temperature": Bound(0.0, 2.0),
    "top_k": Bound(0, 1 << 20, integer=True),
    "top_p": Bound(0.0, 1.0),
    "min_p": Bound(0.0, 1.0),
    "repeat_penalty": Bound(0.01, 10.0),
    "repeat_last_n": Bound(0, 1 << 20, integer=True),
    "frequency_penalty": Bound(-2.0, 2.0),
    "presence_penalty": Bound(-2.0, 2.0),
    "seed": Bound(0, (1 << 64) - 1, integer=True),
    "top_logprobs": Bound(0, 20, integer=True),
}
# The numbers of a request that are no parameter of its generations.
REQUEST_BOUNDS: dict[str, Bound] = {
    "n": Bound(1, MAX_CHOICES, integer=True),
    "best_of": Bound(1, MAX_CHOICES, integer=True),
    "reasoning_budget": Bound(0, 1 << 20, integer=True),  # tokens
    "text_logprobs": Bound(0, 5, integer=True),  # top_logprobs, where a dialect completes raw text
}
MAX_STOP_STRINGS = 16
MAX_STOP_BYTES = 256
MAX_LOGIT_BIAS = 1024
MAX_ALLOWED_TOKENS = 1024
MAX_LOGPROB_IDS = 4096
MAX_SHOWN_TOKENS = 64
MAX_CLOSE_IDS = 64


class ConstraintKind(StrEnum):
    """In which language a constraint is written."""

    JSON_SCHEMA = "json_schema"  # https://json-schema.org; "{}" is any JSON value
    REGEX = "regex"  # of Rust's regex crate, for the whole answer
    LARK = "lark"  # llguidance's dialect of Lark grammars


@dataclass(frozen=True, slots=True)
class Constraint:
    """What an answer must match as a whole; each token is drawn from those that can still lead there."""

    kind: ConstraintKind
    source: str
    param: str = field(default="constraint", compare=False)  # the field of a request that it came in


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasoningSpan:
    """Where a reply may reason, and how long.

    A reply reasons if it begins, but for blanks, with the marker `open`, or if it is `opened`; up to the first `close`.
    Stop strings are looked for in the answer alone, which begins behind that marker and the newlines that follow it.
    Where `budget` tokens have been drawn, the opening marker's included, and the reasoning is going on, `close_ids` are
    forced, one after another.

    Raises:
        InvalidRequest: a marker is empty or too long, or there is a budget and nothing to force.
    """

    open: str
    close: str
    opened: bool = False  # the prompt has written the opening marker
    budget: int | None = None  # tokens; None: no limit
    close_ids: tuple[int, ...] = ()  # they spell the closing marker, with newlines around it where the model wants them
    stop_inside: bool = False  # whether stop strings are looked for inside the reasoning, too

    def __post_init__(self) -> None:
        for marker in (self.open, self.close):
            if not isinstance(marker, str) or not 1 <= len(marker.encode()) <= MAX_STOP_BYTES:
                raise InvalidRequest(
                    f"a marker of reasoning has 1 to {MAX_STOP_BYTES} bytes, found {marker!r:.80}", param="reasoning"
                )
        check_ids("reasoning.close_ids", self.close_ids, MAX_CLOSE_IDS)
        if self.budget is not None:
            check_bound("reasoning_budget", self.budget, param="reasoning.budget")
            if not self.close_ids:
                raise InvalidRequest("a budget of reasoning needs close_ids", param="reasoning.close_ids")


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingParams:
    """How tokens are drawn and when to stop. The defaults are greedy.

    `allowed_tokens` makes an answer a choice: every token of it comes from these ids, end-of-sequence only if its id is
    among them. It is the token that banning all others would give, bit for bit, and cheaper: no other logits are
    computed, unless `logprobs` asks for them, which are of the model's whole distribution.

    `shown_tokens` are control tokens, which add nothing to the text of other generations; here they add what the
    vocabulary writes for them. One that is an end-of-sequence token still ends the generation, and is not shown.

    Raises:
        InvalidRequest: a value is outside `BOUNDS`; `param` names it.
    """

    max_tokens: int | None = None  # None: until the context is full
    temperature: float = 0.0  # 0: greedy, ties by token id
    top_k: int = 0  # 0: off
    top_p: float = 1.0
    min_p: float = 0.0
    repeat_penalty: float = 1.0  # divides positive and multiplies negative logits of tokens in the window
    repeat_last_n: int = 64  # window of the three penalties, prompt included; 0: the whole sequence
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)  # added before everything else; -inf bans a token
    allowed_tokens: tuple[int, ...] = ()  # the answer's tokens come from these ids alone; empty: from all
    constraint: Constraint | None = None  # what the answer must match
    seed: int | None = None  # None: a fresh one each generation
    choice: int = 0  # index of this choice among n; part of the key of the random numbers
    stop: tuple[str, ...] = ()
    shown_tokens: tuple[int, ...] = ()  # control tokens whose texts are part of the text, `[TOOL_CALLS]` and the like
    reasoning: ReasoningSpan | None = None  # where the reply may reason; None: it is all answer
    ignore_eos: bool = False
    speculate: bool = True  # guess what repeats and compute it ahead where that pays; the answer is the same
    logprobs: bool = False
    top_logprobs: int = 0
    logprob_ids: tuple[int, ...] = ()  # each event's `top_logprobs` begin with those of these ids, in this order

    def __post_init__(self) -> None:
        for name in BOUNDS:
            if (value := getattr(self, name)) is not None:
                check_bound(name, value)
        for name in ("top_logprobs", "logprob_ids"):
            if getattr(self, name) and not self.logprobs:
                raise InvalidRequest(f"{name} needs logprobs", param=name)
        if len(self.stop) > MAX_STOP_STRINGS:
            raise InvalidRequest(f"stop has {len(self.stop)} strings, at most {MAX_STOP_STRINGS}", param="stop")
        for text in self.stop:
            if not isinstance(text, str) or not text or len(text.encode()) > MAX_STOP_BYTES:
                raise InvalidRequest(
                    f"each stop string has 1 to {MAX_STOP_BYTES} bytes, found {text!r:.80}", param="stop"
                )
        if len(self.logit_bias) > MAX_LOGIT_BIAS:
            raise InvalidRequest(
                f"logit_bias has {len(self.logit_bias)} entries, at most {MAX_LOGIT_BIAS}", param="logit_bias"
            )
        for token, bias in self.logit_bias.items():
            if math.isnan(bias) or bias == math.inf:
                raise InvalidRequest(f"logit_bias[{token}] is {bias}", param="logit_bias")
        if self.constraint is not None and (self.ignore_eos or self.allowed_tokens):
            other = "ignore_eos" if self.ignore_eos else "allowed_tokens"
            raise InvalidRequest(f"{other} cannot be combined with a constraint", param=other)
        check_ids("allowed_tokens", self.allowed_tokens, MAX_ALLOWED_TOKENS)
        check_ids("logprob_ids", self.logprob_ids, MAX_LOGPROB_IDS)
        check_ids("shown_tokens", self.shown_tokens, MAX_SHOWN_TOKENS)


def check_ids(name: str, ids: tuple[int, ...], maximum: int) -> None:
    """Refuse more than `maximum` ids, and what cannot be a token id."""
    if len(ids) > maximum:
        raise InvalidRequest(f"{name} has {len(ids)} ids, at most {maximum}", param=name)
    for token in ids:
        if isinstance(token, bool) or not isinstance(token, int) or not 0 <= token < 1 << 31:
            raise InvalidRequest(f"{name} are token ids, found {token!r:.40}", param=name)


def check_bound(name: str, value: Any, *, param: str | None = None) -> None:
    """Refuse a number outside its row of `BOUNDS` or `REQUEST_BOUNDS`.

    Raises:
        InvalidRequest: not a number, not finite, not whole where it must be, or out of range.
    """
    bound = BOUNDS.get(name) or REQUEST_BOUNDS[name]
    kinds = (int,) if bound.integer else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not bound.minimum <= value <= bound.maximum:
        wanted = f"{'an integer' if bound.integer else 'a number'} from {bound.minimum:g} to {bound.maximum:g}"
        raise InvalidRequest(f"{param or name} must be {wanted}, found {value!r:.40}", param=param or name)
