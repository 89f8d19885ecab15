"""Time contenders against each other and report ratios: what every task of bench/ shares.

    contenders = {"kvtape": run_ours, "numpy": run_numpy}         # each does the whole job once
    report = compare("rms_norm", contenders, base="numpy", params={"dim": 576}, versions={"numpy": np.__version__})
    report.show()
    report.write(Path("bench/results"))

Contenders run interleaved, in an order that changes each round, so that a machine that slows down slows all of them.
The middle value of the rounds is reported with its spread (the quartiles); ratios are taken inside a round, then their
middle. A contender that returns a float has taken its own time. One of them may be the limit: the time that the machine
needs for the job's bytes or products alone; then the share of it that the others reach is reported too.
"""

from __future__ import annotations

import json
import os
import platform
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from rich.console import Console
from rich.table import Table

__all__ = ["Report", "Timing", "compare", "machine"]

TEXT_WIDTH = 140  # of a table that goes to a file


@dataclass(frozen=True)
class Timing:
    """One contender. Times are seconds of one run of the job."""

    name: str
    seconds: list[float]  # one a round, in the order of the rounds
    ratio: float  # how many times the base's time is its own: above 1 is faster than the base
    ratio_spread: tuple[float, float]  # quartiles over the rounds
    share: float | None = None  # of the limit: its time over the own, 1 is as fast as can be
    share_spread: tuple[float, float] | None = None

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
    unit: str = ""  # what `n_units` counts; rates are shown where there is one
    n_units: int = 0  # in one run of the job
    machine: Mapping[str, Any] = field(default_factory=lambda: machine())

    def show(self) -> None:
        """Print a table: medians, and in brackets the quartiles."""
        words = ", ".join(f"{key} {value}".strip() for key, value in self.params.items())
        table = Table(title=f"{self.task}: {words}", caption=f"{self.machine['cpu']}, {self.machine['isa']}")
        has_share = any(timing.share is not None for timing in self.timings)
        for heading in ["contender", "time", f"times {self.base}"] + ["of the limit"] * has_share:
            table.add_column(heading, justify="left" if heading == "contender" else "right", no_wrap=True)
        if self.unit:
            table.add_column(f"{self.unit}/s", justify="right", no_wrap=True)
        for timing in sorted(self.timings, key=lambda timing: timing.middle):
            row = [
                f"{timing.name} {self.versions.get(timing.name, '')}".strip(),
                _seconds(timing.middle, timing.spread),
            ]
            row.append(_number(timing.ratio, timing.ratio_spread))
            if has_share:
                row.append("" if timing.share_spread is None else _number(timing.share, timing.share_spread))
            if self.unit:
                row.append(f"{self.n_units / timing.middle:,.1f}")
            table.add_row(*row)
        Console(width=None if Console().is_terminal else TEXT_WIDTH).print(table)

    def timing(self, name: str) -> Timing:
        """Return one contender's."""
        return next(timing for timing in self.timings if timing.name == name)

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
    limit: str | None = None,
    unit: str = "",
    n_units: int = 0,
    n_rounds: int = 15,
    n_warmup: int = 2,
) -> Report:
    """Run the contenders interleaved; check their answers before, a wrong answer is not worth timing.

    Args:
        limit: the contender that is no contender but the limit.
        n_units: how many of `unit` one run of the job is; rates are shown.

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
            own = contenders[name]()
            elapsed = (time.perf_counter_ns() - begin) / 1e9
            if i >= 0:
                seconds[name].append(own if isinstance(own, float) else elapsed)
    timings = []
    for name, times in seconds.items():
        ratios = [theirs / ours for theirs, ours in zip(seconds[base], times, strict=True)]
        timing = Timing(name, times, median(ratios), _quartiles(ratios))
        if limit is not None and name != limit:
            shares = [least / ours for least, ours in zip(seconds[limit], times, strict=True)]
            timing = replace(timing, share=median(shares), share_spread=_quartiles(shares))
        timings.append(timing)
    return Report(task, base, dict(params), timings, dict(versions), unit, n_units)


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


def _number(value: float | None, spread: tuple[float, float]) -> str:
    return f"{value:.2f} ({spread[0]:.2f} .. {spread[1]:.2f})"


def _seconds(value: float, spread: tuple[float, float]) -> str:
    factors = {"s": 1, "ms": 1e3, "µs": 1e6, "ns": 1e9}
    unit, factor = next((pair for pair in factors.items() if value * pair[1] >= 1), ("ns", 1e9))
    low, high = (f"{each * factor:.3g}" for each in spread)
    return f"{value * factor:.3g} ({low} .. {high}) {unit}"
