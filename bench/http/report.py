"""First token over HTTP after a cached prefix, and what a token costs through the stream.

    python -m bench.http.report [MODEL] [--threads 2] [--rounds 7]

600 tokens of text are in the server's cache; each round asks with these and about 50 new ones. Then one answer of 128
tokens is timed from its first token to its last, through the stream and in the engine alone.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from statistics import median

import kvtape
from bench.http import kvtape as ours
from bench.http import llama_server
from bench.http.task import Server
from bench.llama_cpp.report import tokenize
from bench.quality.task import text
from bench.report import compare
from kvtape.chat.prompt import encode_chat
from kvtape.model.registry import resolve
from kvtape.types import ChatPrompt

MODEL = os.environ.get("KVTAPE_TEST_MODEL", "smollm2-135m")
RESULTS = Path("bench/results")
N_CACHED, N_NEW, N_ANSWER = 600, 50, 128
GOAL_RATIO, GOAL_STREAM_SECONDS = 7.0, 1e-4
PEER = "llama-server"


def cut(n_tokens_all: int) -> tuple[str, Callable[[int], str]]:
    """Return about N_CACHED tokens of text, and a function for the n-th piece of about N_NEW others."""
    whole = text()
    a_token = len(whole) / n_tokens_all
    cached, new = int(N_CACHED * a_token), int(N_NEW * a_token)
    return whole[:cached], lambda n: whole[cached + n * new : cached + (n + 1) * new]


def first_token_job(server: Server, prefix: str, new: Callable[[int], str]) -> Callable[[], float]:
    """Return what is timed: the prefix and a new piece, until the first token of the answer."""
    server.arrivals(prefix + new(0), 1)
    rounds = count(1)
    return lambda: server.arrivals(prefix + new(next(rounds)), 1)[0]


def stream_cost(server: Server, model: Path, threads: int, prefix: str, n_rounds: int) -> list[tuple[float, float]]:
    """Return seconds a token through the stream and in the engine alone, a round each."""
    found = []
    with kvtape.Engine(model, n_threads=threads) as engine:
        ids = encode_chat(engine.model, ChatPrompt(messages=[{"role": "user", "content": prefix}]))
        for _ in range(n_rounds):
            times = server.arrivals(prefix, N_ANSWER)
            sequence, alone = engine.open(), []
            sequence.append(ids)
            for event in sequence.generate(max_tokens=N_ANSWER):
                if event.text:
                    alone.append(time.perf_counter())
            sequence.close()
            if len(alone) != len(times):
                raise RuntimeError(f"{len(times)} pieces through the stream, {len(alone)} in the engine")
            found.append(tuple((row[-1] - row[0]) / (len(row) - 1) for row in (times, alone)))
    return found  # type: ignore[return-value]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default=MODEL, help="a .gguf or an alias (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    model = resolve(args.model)
    prefix, new = cut(len(tokenize(model)))
    starts = {"kvtape": ours.start, PEER: llama_server.start}
    if llama_server.program() is None:
        print(f"{PEER} is left out: KVTAPE_BENCH_LLAMA_SERVER names no program", file=sys.stderr)
        del starts[PEER]
    with ExitStack() as stack:
        servers = {name: stack.enter_context(start(model, args.threads)) for name, start in starts.items()}
        report = compare(
            "http",
            {name: first_token_job(server, prefix, new) for name, server in servers.items()},
            base=PEER if PEER in servers else "kvtape",
            params={"": "first-token", "cached": N_CACHED, "new": N_NEW, "model": model.stem, "threads": args.threads},
            versions={"kvtape": kvtape.__version__},
            n_rounds=args.rounds,
        )
        report.show()
        report.write(RESULTS)
        if PEER in servers:
            ratio = report.timing("kvtape").ratio
            print(f"  {ratio:.2f} times {PEER}, goal {GOAL_RATIO:g}: {'met' if ratio >= GOAL_RATIO else 'MISSED'}")
        rounds = stream_cost(servers["kvtape"], model, args.threads, prefix, args.rounds)
    through, alone = (median(column) * 1e3 for column in zip(*rounds, strict=True))
    costs = sorted(through - alone for through, alone in rounds)
    low, middle, high = (costs[len(costs) * i // 4] * 1e3 for i in (1, 2, 3))
    verdict = "met" if middle <= GOAL_STREAM_SECONDS * 1e3 else "MISSED"
    print(f"  a token: {through:.3f} ms through the stream, {alone:.3f} ms in the engine alone;", end=" ")
    print(f"the stream costs {middle:.3f} ms ({low:.3f} .. {high:.3f}), goal {GOAL_STREAM_SECONDS * 1e3:g}: {verdict}")


if __name__ == "__main__":
    main()
