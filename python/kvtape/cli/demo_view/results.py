"""What the demo records, and the figures that follow from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np

__all__ = ["DISCLAIMER", "TIMES", "Answer", "Candle", "DemoResult", "Quantiles", "Question", "Stage", "Step", "to_json"]

TIMES = "\N{MULTIPLICATION SIGN}"
DISCLAIMER = (
    "A model of 135 million parameters knows nothing about markets: its opinions are worthless. "
    "What is shown here is the machinery that keeps them up to date."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candle:
    """One candle; `timestamp` in Unix seconds."""

    timestamp: int
    o: float
    h: float
    l: float  # noqa: E741
    c: float
    v: float

    @property
    def date(self) -> str:
        """The day, or day and time where it is not midnight."""
        time = datetime.fromtimestamp(self.timestamp, UTC)
        return time.strftime("%Y-%m-%d" if self.timestamp % 86400 == 0 else "%Y-%m-%d %H:%M")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A flash query's answer; `version` is the data version it is true for, `confidence` a gap of logits."""

    text: str
    confidence: float
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One candle on its way: pushed, resident at `version`, then every flash query answered again."""

    candle: Candle
    version: int
    push_to_resident_ms: float
    resident_to_flash_ms: float
    answers: dict[str, Answer] = field(default_factory=dict)  # by query


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """An ad-hoc question, asked of the live session and again by resending the whole context."""

    text: str
    answer: str
    live_ms: float
    resend_ms: float
    context_tokens: int

    @property
    def factor(self) -> float:
        """How many times longer resending took."""
        return self.resend_ms / self.live_ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantiles:
    """Of a series in milliseconds."""

    p50: float
    p95: float
    p99: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One leg of the way with all its times."""

    name: str
    times_ms: list[float]

    @property
    def quantiles(self) -> Quantiles:
        """p50, p95 and p99, linearly interpolated; zeros without a time."""
        p50, p95, p99 = np.percentile(self.times_ms, [50, 95, 99]).tolist() if self.times_ms else (0.0, 0.0, 0.0)
        return Quantiles(p50=p50, p95=p95, p99=p99)


@dataclass(kw_only=True)
class DemoResult:
    """A whole run; grows while the demo runs."""

    model: str
    symbol: str
    n_candles: int  # that the demo means to push
    queries: list[str]
    machine: str = ""
    steps: list[Step] = field(default_factory=list)
    questions: list[Question] = field(default_factory=list)
    prefill_tokens_per_s: float | None = None
    decode_tokens_per_s: float | None = None

    def stages(self) -> Sequence[Stage]:
        """The measured legs, in order."""
        resident = [step.push_to_resident_ms for step in self.steps]
        flash = [step.resident_to_flash_ms for step in self.steps]
        return (
            Stage(name="push → resident", times_ms=resident),
            Stage(name="resident → flash ready", times_ms=flash),
            Stage(name="push → flash ready", times_ms=[a + b for a, b in zip(resident, flash, strict=True)]),
        )


def to_json(result: DemoResult) -> bytes:
    """Return the run and its summary as one JSON object."""
    stages: dict[str, Any] = {stage.name: asdict(stage.quantiles) for stage in result.stages()}
    questions = [{**asdict(question), "factor": question.factor} for question in result.questions]
    summary = {"stages_ms": stages, "disclaimer": DISCLAIMER}
    return msgspec.json.encode({**asdict(result), "questions": questions, "summary": summary})
