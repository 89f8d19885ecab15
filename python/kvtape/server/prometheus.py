"""Prometheus's text format, version 0.0.4."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from kvtape.session.timings import BOUNDS, Histogram

__all__ = ["CONTENT_TYPE", "Family", "counter", "gauge", "histogram", "render"]

CONTENT_TYPE = "text/plain; version=0.0.4"

Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Family:
    """A metric: its samples have the labels and what the name ends with."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    samples: list[tuple[str, Labels, float]]


def counter(name: str, help: str, value: float | Mapping[tuple[str, str], float]) -> Family:
    """Make a counter; several values are told apart by one label, (name, value)."""
    return Family(name, "counter", help, _samples(value))


def gauge(name: str, help: str, value: float | Mapping[tuple[str, str], float]) -> Family:
    """Make a gauge, as `counter`."""
    return Family(name, "gauge", help, _samples(value))


def _samples(value: float | Mapping[tuple[str, str], float]) -> list[tuple[str, Labels, float]]:
    if isinstance(value, Mapping):
        return [("", dict([label]), figure) for label, figure in value.items()]
    return [("", {}, value)]


def histogram(name: str, help: str, histograms: Mapping[tuple[str, str] | None, Histogram]) -> Family:
    """Make a histogram, or one for each value of a label."""
    samples: list[tuple[str, Labels, float]] = []
    for label, found in histograms.items():
        labels = {} if label is None else dict([label])
        counts = found.cumulative()
        for bound, count in zip((*map(str, BOUNDS), "+Inf"), counts, strict=True):
            samples.append(("_bucket", {**labels, "le": bound}, count))
        samples += [("_sum", labels, found.sum), ("_count", labels, counts[-1])]
    return Family(name, "histogram", help, samples)


def render(families: Iterable[Family]) -> str:
    """Write the families."""
    lines: list[str] = []
    for family in families:
        lines += [f"# HELP {family.name} {_escape(family.help)}", f"# TYPE {family.name} {family.kind}"]
        for ending, labels, value in family.samples:
            pairs = ",".join(f'{name}="{_escape(text, quotes=True)}"' for name, text in labels.items())
            lines.append(f"{family.name}{ending}{f'{{{pairs}}}' if pairs else ''} {value!r}")
    return "\n".join(lines) + "\n"


def _escape(text: str, *, quotes: bool = False) -> str:
    text = text.replace("\\", "\\\\").replace("\n", "\\n")
    return text.replace('"', '\\"') if quotes else text
