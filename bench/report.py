"""Time contenders against each other and report ratios: what every task of bench/ shares.

    contenders = {"kvtape": run_ours, "numpy": run_numpy}         # each does the whole job once
    report = compare("rms_norm", contenders, base="numpy", params={"dim": 576}, versions={"numpy": np.__version__})
    report.show()
    report.write(Path("bench/results"))

Contenders run interleaved, in an order that changes each round, so that a machine that slows down slows all of them.
The middle value of the rounds is reported with its spread (the quartiles); ratios are taken inside a round, then their
middle.
"""

from __future__ import annotations

import json
import os
import platform
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from rich.console import Console
from rich.table import Table

__all__ = ["Report", "Timing", "compare", "machine"]


@dataclass(frozen=True)
class Timing:
    """One contender. Times are seconds of one run of the job."""

    name: str
    seconds: list[float]  # one a round, in the order of the rounds
    ratio: float  # how many times the base's time is its own: above 1 is faster than the base
    ratio_spread: tuple[float, float]  # quartiles over the rounds

    @property
    def middle(self) -> float:
        """The median of the rounds."""
        return median(self.seconds)

    @property
    def spread(self) -> tuple[float, float]:
        """The quartiles of the rounds."""
        return _quartiles(self.seconds)


@dataclass(frozen=True)
class Report:
    """What was compared, on what, and how it came out."""

    task: str
    base: str
    params: Mapping[str, Any]  # shapes, types, threads: what a reader needs to do it again
    timings: list[Timing]
    versions: Mapping[str, str]
    machine: Mapping[str, Any] = field(default_factory=lambda: machine())

    def show(self) -> None:
        """Print a table."""
        words = ", ".join(f"{key} {value}" for key, value in self.params.items())
        table = Table(title=f"{self.task}: {words}", caption=f"{self.machine['cpu']}, {self.machine['isa']}")
        for heading in ("contender", "median", "quartiles", f"ratio to {self.base}", "quartiles"):
            table.add_column(heading, justify="left" if heading == "contender" else "right")
        for timing in sorted(self.timings, key=lambda timing: timing.middle):
            name = f"{timing.name} {self.versions.get(timing.name, '')}".strip()
            times = " .. ".join(_seconds(value) for value in timing.spread)
            ratios = " .. ".join(f"{value:.2f}" for value in timing.ratio_spread)
            table.add_row(name, _seconds(timing.middle), times, f"{timing.ratio:.2f}", ratios)
        Console().print(table)

    def write(self, folder: Path) -> Path:
        """Write everything as JSON, one file a task and set of parameters; return its path."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / ("-".join([self.task, *(f"{key}{value}" for key, value in self.params.items())]) + ".json")
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")
        return path


def compare(
    task: str,
    contenders: Mapping[str, Callable[[], object]],
    *,
    base: str,
    params: Mapping[str, Any],
    versions: Mapping[str, str],
    n_rounds: int = 15,
    n_warmup: int = 2,
) -> Report:
    """Run the contenders interleaved; check their answers before, a wrong answer is not worth timing.

    Raises:
        ValueError: `base` is none of the contenders, or there are too few rounds for quartiles.
    """
    if base not in contenders or n_rounds < 3:
        raise ValueError(f"base {base!r} of {list(contenders)}, {n_rounds} rounds; wanted one of them, and at least 3")
    order = list(contenders)
    shuffle = random.Random(0).shuffle
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for i in range(-n_warmup, n_rounds):
        shuffle(order)
        for name in order:
            begin = time.perf_counter_ns()
            contenders[name]()
            elapsed = (time.perf_counter_ns() - begin) / 1e9
            if i >= 0:
                seconds[name].append(elapsed)
    timings = []
    for name, own in seconds.items():
        ratios = [theirs / ours for theirs, ours in zip(seconds[base], own, strict=True)]
        timings.append(Timing(name, own, median(ratios), _quartiles(ratios)))
    return Report(task, base, dict(params), timings, dict(versions))


def machine() -> dict[str, Any]:
    """Describe this machine and the kvtape that is installed on it."""
    import kvtape
    from kvtape._native import _core

    cpu = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").is_file():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), cpu)
    return {
        "cpu": cpu,
        "n_cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "isa": _core.active_isa(),
        "kvtape": kvtape.__version__,
        "compiler": _core.compiler(),
        "python": platform.python_version(),
        "platform": platform.platform(),
    }


def _quartiles(values: list[float]) -> tuple[float, float]:
    low, _, high = quantiles(values, n=4, method="inclusive")
    return low, high


def _seconds(value: float) -> str:
    for factor, unit in ((1, "s"), (1e3, "ms"), (1e6, "µs")):
        if value * factor >= 1:
            return f"{value * factor:.3g} {unit}"
    return f"{value * 1e9:.3g} ns"
