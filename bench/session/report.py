"""Latencies of live sessions over HTTP, against llama.cpp's server, the machine's limits and floors.

    python -m bench.session.report [MODEL] [--only question questions flash wire rate import] [--threads 2] [--pause]

question: asked behind an acknowledged candle, against the whole context resent to a server with its prompt cache.
questions: ten questions about one long context, the same.
flash: push to data_updated, and to the first and the last answer of 1, 4 and 16 queries.
wire: push and flash hit over HTTP and WebSocket, beside the floor of the same server parts.
rate: rows a second that are taken in, by one session and by many.

The model's context limit is raised for timing alone. With --pause each part waits for a line on standard input once its
contexts are filled, so that the machine can be made quiet.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from bench.http import llama_server
from bench.llama_cpp.limits import Limit, ModelShape, program
from bench.report import machine
from bench.session import flash_times, rate, wire_times
from bench.session.longer_context import with_context
from bench.session.question import ANSWER_TOKENS, Asker, Times
from bench.session.task import SessionClient, running_server
from kvtape.model.registry import resolve

MODEL = os.environ.get("KVTAPE_TEST_MODEL", "smollm2-135m")
RESULTS = Path("bench/results")
N_CTX = 32_768
QUESTION_CONTEXTS = (155, 300, 600, 1200)  # candles
QUESTIONS_CONTEXT, N_QUESTIONS = 460, 10
N_ROUNDS, N_ROLLING, ROLLING_MOST = 7, 1, 300
GOAL_OF_LIMIT, GOAL_FACTORS = 1.3, {155: 4.0, 300: 8.0, 600: 8.0, 1200: 8.0}
IMPORT_REPS = 15
IMPORT_PROBE = """
import kvtape, pathlib, sys
threads = pathlib.Path("/proc/self/status").read_text().split("Threads:")[1].split()[0]
loaded = [name for name in ("numpy", "kvtape._core", "socket", "asyncio") if name in sys.modules]
print(threads, *loaded)
"""


def spread(values: Sequence[float]) -> str:
    """Write median and quartiles of seconds, in milliseconds."""
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75]) * 1e3
    return f"{middle:.4g} ({low:.4g} .. {high:.4g}) ms"


def factor(values: Sequence[float]) -> str:
    """Write median and quartiles of ratios."""
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    return f"{middle:.2f} ({low:.2f} .. {high:.2f})"


def tail(values: Sequence[float]) -> str:
    """Write p50, p99, p99.9 and the longest of seconds, in milliseconds."""
    p50, p99, p999 = np.quantile(values, [0.5, 0.99, 0.999]) * 1e3
    return f"p50 {p50:8.3f}  p99 {p99:8.3f}  p99.9 {p999:8.3f}  longest {max(values) * 1e3:8.3f} ms  n {len(values)}"


def question(asker: Asker, ready: Callable[[str], None]) -> dict[str, Any]:
    """Ask at each length."""
    found = {}
    for n_rows in QUESTION_CONTEXTS:
        asker.fill(n_rows)
        times = Times()
        asker.round(Times())
        ready(f"{n_rows} candles")
        for _ in range(N_ROUNDS):
            asker.round(times)
        if n_rows <= ROLLING_MOST:
            for _ in range(N_ROLLING):
                asker.rolling(times)
        found[str(n_rows)] = vars(times)
        show_question(n_rows, times)
    return found


def show_question(n_rows: int, times: Times) -> None:
    """Print what came of one length."""
    print(f"  {n_rows} candles, {times.n_context} tokens, of which {times.n_new} new; {ANSWER_TOKENS} tokens of answer")
    print(f"    session            {spread(times.session)}")
    if times.least:
        ratios = times.ratios("session", "least")
        verdict = "met" if statistics.median(ratios) <= GOAL_OF_LIMIT else "MISSED"
        print(f"    limit              {spread(times.least)}: {factor(ratios)} of it, goal {GOAL_OF_LIMIT}: {verdict}")
    if times.resent:
        ratios = times.ratios("resent", "session")
        verdict = "met" if statistics.median(ratios) >= GOAL_FACTORS[n_rows] else "MISSED"
        goal = f"goal {GOAL_FACTORS[n_rows]:g}: {verdict}"
        print(f"    llama-server       {spread(times.resent)}: {factor(ratios)} times as long, {goal}")
    print(f"    resent to kvtape   {spread(times.resent_to_us)}: {factor(times.ratios('resent_to_us', 'session'))}")
    if times.rolling:
        print(f"    llama-server, oldest candle gone  {spread(times.rolling)}")


def questions(asker: Asker, ready: Callable[[str], None]) -> dict[str, Any]:
    """Ask ten questions about one context, nothing pushed between them."""
    asker.fill(QUESTIONS_CONTEXT)
    ready(f"{N_QUESTIONS} questions")
    times = [asker.ask_each(n) for n in range(N_QUESTIONS)]
    sums = {name: sum(time[name] for time in times) for name in times[0]}
    print(f"  {N_QUESTIONS} questions about {asker.client.data_end()} tokens, seconds: {sums}")
    return {"seconds": times, "sums": sums}


def measure_import() -> dict[str, Any]:
    """Time `import kvtape` in fresh interpreters, less an empty interpreter's time, in alternation."""
    took: dict[str, list[float]] = {"pass": [], "import kvtape": []}
    for _ in range(IMPORT_REPS):
        for code, seconds in took.items():
            began = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True)
            seconds.append(time.perf_counter() - began)
    extra = [ours - empty for empty, ours in zip(took["pass"], took["import kvtape"], strict=True)]
    probe = subprocess.run([sys.executable, "-c", IMPORT_PROBE], check=True, capture_output=True, text=True)
    threads, *loaded = probe.stdout.split()
    print(f"  import kvtape: {spread(extra)}, {threads} thread(s), loaded: {', '.join(loaded) or 'nothing heavy'}")
    return {"seconds": extra, "threads": int(threads), "modules_loaded": loaded}


def measure_questions(only: Sequence[str], model: Path, threads: int, ready: Callable[[str], None]) -> dict[str, Any]:
    """Run `question` and `questions`, each in a session of its own, on servers of their own."""
    model, limits = with_context(model, N_CTX), program()
    found = {}
    with ExitStack() as stack:
        limit = None if limits is None else Limit(limits, threads, machine()["isa"])
        url = stack.enter_context(running_server(model, threads))
        own = int(stack.enter_context(running_server(model, threads)).rsplit(":", 1)[1])
        peer = None
        if llama_server.program() is not None:
            peer = stack.enter_context(llama_server.start(model, threads, n_ctx=N_CTX)).port
        for name, part in {"question": question, "questions": questions}.items():
            if name in only:
                client = SessionClient(url)
                found[name] = part(Asker(client, peer, own, limit, ModelShape.read(model)), ready)
                client.close()
        if limit is not None:
            limit.close()
    return found


def measure_wire() -> dict[str, Any]:
    """Print pushes and hits on an idle engine, and hits beside a flash round."""
    found = wire_times.measure(N_ROUNDS)
    for name, seconds in found.items():
        print(f"  {name:18}{tail(seconds)}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default=MODEL, help="a .gguf or an alias (default: %(default)s)")
    parts = ("question", "questions", "flash", "wire", "rate", "import")
    parser.add_argument("--only", nargs="+", choices=parts, default=parts, metavar="PART")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--pause", action="store_true")
    args = parser.parse_args()
    model = resolve(args.model)

    def ready(what: str) -> None:
        if args.pause:
            print(f"ready: {what}", flush=True)
            sys.stdin.readline()

    print(f"session: {model.stem}, {args.threads} threads, loopback, {machine()['cpu']}")
    results: dict[str, Any] = {}
    if "import" in args.only:
        results["import"] = measure_import()
    if "wire" in args.only:
        results["wire"] = measure_wire()
    if {"flash", "rate"} & set(args.only):
        with running_server(model, args.threads) as url:
            if "flash" in args.only:
                results["flash"] = flash_times.measure(url, ready)
            if "rate" in args.only:
                results["rate"] = rate.measure(url)
    if {"question", "questions"} & set(args.only):
        results |= measure_questions(args.only, model, args.threads, ready)
    RESULTS.mkdir(parents=True, exist_ok=True)
    for name, found in results.items():
        record = {"model": model.name, "threads": args.threads, "machine": machine(), "results": found}
        (RESULTS / f"session-{name}-threads{args.threads}.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
