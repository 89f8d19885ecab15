"""Sessions that live, and a server that is not to grow: memory, files, threads, and every row and event accounted for.

python -m bench.soak.report [--minutes 30] [--sessions 64] [--rows 20] [--log FILE]

The real server process over a tiny model: sessions with a window, four flash queries each, are pushed to without end,
by HTTP and by WebSocket; readers on SSE and WebSocket break off and come back; sessions are deleted at random and made
anew.
The exit code is 1 where something grew, was miscounted or was missed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from bench.report import machine
from bench.soak.process import Sample, read_sample, served
from bench.soak.task import Load, Spec
from tests.reference.tiny_model import TinySpec, write_tiny_model

RESULTS = Path("bench/results")
OPTIONS = ("--threads", "1", "--ctx", "2048", "--kv-memory", "32M")
WARM_UP = 0.25  # of the time, which is not judged
SAMPLE_SECONDS = 1.0
MOST_GROWTH = 0.02  # of the memory, over what is judged
# Median of the last third less that of the first. Files beyond the clients' own: a busy server accepts late, and
# what leaks does so with each of thousands of connections.
MOST_FDS, MOST_THREADS = 64, 0
SHOWN_PROBLEMS = 20
LEVELS = "▁▂▃▄▅▆▇█"


async def soak(load: Load, pid: int, seconds: float) -> list[Sample]:
    """Run the load and sample the server until the time is over; returns when all sessions are gone."""
    samples: list[Sample] = []
    running = asyncio.create_task(load.run())
    end = time.monotonic() + seconds
    while time.monotonic() < end and not running.done():
        await asyncio.sleep(SAMPLE_SECONDS)
        samples.append(read_sample(pid))
    load.ending = True
    await running
    return samples


def plot(values: Sequence[float], width: int = 72) -> str:
    """Draw values over time as one line of text."""
    means = [float(np.mean(part)) for part in np.array_split(values, min(width, len(values)))]
    low, high = min(means), max(means)
    span = (high - low) or 1.0
    line = "".join(LEVELS[int((mean - low) / span * (len(LEVELS) - 1))] for mean in means)
    return f"{line}  {low:.0f} .. {high:.0f}"


def judge(samples: Sequence[Sample]) -> tuple[dict[str, float], list[str]]:
    """Return what the samples say, and what is wrong with it."""
    kept = samples[int(len(samples) * WARM_UP) :]
    at, rss = np.array([s.at for s in kept]), np.array([s.rss for s in kept])
    slope = float(np.polyfit(at - at[0], rss, 1)[0])
    growth = slope * (at[-1] - at[0])
    third = len(kept) // 3
    parts = kept[:third], kept[-third:]
    fds = [float(np.median([s.n_fds - s.n_client_fds for s in part])) for part in parts]
    threads = [float(np.median([s.n_threads for s in part])) for part in parts]
    wrong = []
    if growth > MOST_GROWTH * rss[0]:
        wrong.append(f"memory grew by {growth:.1f} MB")
    if fds[1] - fds[0] > MOST_FDS:
        wrong.append(f"open files beyond the clients' grew from {fds[0]:.0f} to {fds[1]:.0f}")
    if threads[1] - threads[0] > MOST_THREADS:
        wrong.append(f"threads grew from {threads[0]:.0f} to {threads[1]:.0f}")
    figures = {
        "RSS MB, begin": float(rss[: third or 1].mean()),
        "RSS MB, end": float(rss[-third:].mean()),
        "RSS MB an hour": slope * 3600,
        "files beyond the clients', begin": fds[0],
        "files beyond the clients', end": fds[1],
        "threads, begin": threads[0],
        "threads, end": threads[1],
    }
    return figures, wrong


def check_end(url: str, before: Sample, after: Sample) -> list[str]:
    """Return what is left of sessions that are all deleted."""
    health: dict[str, Any] = httpx.get(f"{url}/health").json()
    wrong = [f"{health[name]} {name} at the end" for name in ("sessions", "running", "queued") if health[name]]
    if after.n_fds > before.n_fds:
        wrong.append(f"{after.n_fds} open files at the end, {before.n_fds} before the first session")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--sessions", type=int, default=Spec.n_sessions)
    parser.add_argument("--rows", type=float, default=Spec.rows_per_second, help="a second, to each session")
    parser.add_argument("--log", type=Path, help="where the server's own log goes")
    args = parser.parse_args()
    spec = Spec(n_sessions=args.sessions, rows_per_second=args.rows)
    with tempfile.TemporaryDirectory() as folder:
        model = write_tiny_model(Path(folder) / "tiny.gguf", TinySpec(n_layers=1, n_ctx=2048))
        with (args.log or Path(folder) / "log").open("wb") as log, served(model, log, *OPTIONS) as (url, pid):
            asyncio.run(soak(Load(url, replace(spec, n_sessions=2)), pid, 1))  # starts what is started once
            load, before = Load(url, spec), read_sample(pid)
            samples = asyncio.run(soak(load, pid, args.minutes * 60))
            time.sleep(2)  # for connections to be closed
            after = read_sample(pid)
            left = check_end(url, before, after)
    figures, grown = judge(samples)
    total, push = load.total, np.quantile(load.push_seconds, [0.5, 0.99, 1.0]) * 1e3
    figures |= {
        "RSS MB before and after all": before.rss,
        "  after": after.rss,
        "rows sent": total.n_sent,
        "rows a second": total.n_sent / (samples[-1].at - samples[0].at),
        "rows accepted": total.n_pushed,
        "rows dropped": total.n_dropped,
        **{name: float(n) for name, n in sorted(load.seen.items())},
        "push acknowledged ms p50": float(push[0]),
        "push acknowledged ms p99": float(push[1]),
        "push acknowledged ms longest": float(push[2]),
    }
    for name, value in figures.items():
        print(f"  {name:32}{value:14,.1f}")
    for name, values in (("RSS MB", [s.rss for s in samples]), ("files", [s.n_fds for s in samples])):
        print(f"  {name:8}{plot(values)}")
    wrong = grown + left + load.problems
    for problem in wrong[:SHOWN_PROBLEMS]:
        print(f"  WRONG: {problem}")
    print(f"  {len(wrong)} problems" if wrong else "  nothing grew, nothing was miscounted, nothing was missed")
    RESULTS.mkdir(parents=True, exist_ok=True)
    record = {"spec": vars(spec), "machine": machine(), "figures": figures, "problems": wrong}
    (RESULTS / f"soak-sessions{args.sessions}.json").write_text(json.dumps(record, indent=1) + "\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
