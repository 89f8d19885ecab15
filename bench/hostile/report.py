"""What a good client pays for hostile ones: p99 of a push and of a flash hit, alone and among them, in turns.

    python -m bench.hostile.report [--rounds 9] [--model MODEL]

Among them means: 190 connections that are held, half of something sent or nothing read, three floods over WebSockets,
and 150 things a second that are cut off, broken, or too large. They have a session of their own and run in a
process of their own, on the same cores.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from statistics import median, quantiles

import kvtape
from bench.hostile.task import GoodClient
from bench.http.task import free_port, running
from bench.report import Report, Timing
from bench.stream.task import make_model

RESULTS = Path("bench/results")
N_EACH = 200  # pushes, and hits, a round
GOAL = 2.0


class Others:
    """The process of the hostile clients."""

    def __init__(self, port: int, session: str) -> None:
        command = [sys.executable, "-m", "bench.hostile.task", str(port), session]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    @contextmanager
    def loose(self) -> Iterator[None]:
        """Let them loose for a while."""
        self._say("go")
        yield
        self._say("stop")

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()

    def _say(self, command: str) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        while (answer := self._process.stdout.readline().strip()) != command:
            if not answer:
                raise RuntimeError("the hostile clients are gone")


def measure(client: GoodClient) -> tuple[list[float], list[float]]:
    """Push and ask in turns; return the seconds of each."""
    pushes, hits = [], []
    for _ in range(N_EACH):
        pushes.append(client.push())
        hits.append(client.hit())
    return pushes, hits


def p99(times: list[float]) -> float:
    return quantiles(times, n=100, method="inclusive")[98]


def report(task: str, alone: list[list[float]], among: list[list[float]], model: str) -> Report:
    """Compare the 99th percentiles of the rounds."""
    names = {"alone": [p99(times) for times in alone], "among hostile clients": [p99(times) for times in among]}
    timings = []
    for name, seconds in names.items():
        ratios = [base / own for base, own in zip(names["alone"], seconds, strict=True)]
        low, _, high = quantiles(ratios, n=4, method="inclusive")
        timings.append(Timing(name, seconds, median(ratios), (low, high)))
    return Report(
        f"hostile-{task}", "alone", {"p99-of": N_EACH, "model": model}, timings, {"kvtape": kvtape.__version__}
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--model", help="alias or path; default: a random one of a single small layer")
    args = parser.parse_args()
    alone: tuple[list[list[float]], list[list[float]]] = ([], [])
    among: tuple[list[list[float]], list[list[float]]] = ([], [])
    with tempfile.TemporaryDirectory() as folder:
        model, port = args.model or str(make_model(Path(folder))), free_port()
        command = [
            sys.executable,
            "-m",
            "kvtape",
            "serve",
            "--model",
            model,
            "--port",
            str(port),
            "--kv-memory",
            "256M",
        ]
        with running(command, port):
            client = GoodClient(port)
            others = Others(port, client.create({"type": "ohlcv", "window_size": 400}))
            measure(client)
            for _ in range(args.rounds):
                for times, of_round in zip(alone, measure(client), strict=True):
                    times.append(of_round)
                with others.loose():
                    for times, of_round in zip(among, measure(client), strict=True):
                        times.append(of_round)
            others.close()
    for task, quiet, loud in zip(("push", "hit"), alone, among, strict=True):
        found = report(task, quiet, loud, args.model or "tiny")
        found.show()
        found.write(RESULTS)
        for name, times in (("alone", quiet), ("among", loud)):
            every = sorted(chain.from_iterable(times))
            shown = ", ".join(f"p{p:g} {every[int(len(every) * p / 100)] * 1e3:.2f}" for p in (50, 99, 99.9))
            print(f"  {task} {name}: {shown}, longest {every[-1] * 1e3:.2f} ms")
        ratio = 1 / found.timing("among hostile clients").ratio
        print(f"  p99 {ratio:.2f} times that alone, goal {GOAL:g}: {'met' if ratio <= GOAL else 'MISSED'}")


if __name__ == "__main__":
    main()
