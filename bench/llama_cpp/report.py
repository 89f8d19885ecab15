"""Prefill, decode, load time and memory of kvtape and llama.cpp, taking turns in one run.

    python -m bench.llama_cpp.report [MODEL] [--threads 1 2] [--rounds 7]

Ratios are to llama.cpp held to AVX2; llama.cpp with all of this CPU's AVX-512 is a contender too where the CPU has it.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from bench.llama_cpp.task import DECODE_TOKENS, LONG_CONTEXT, PREFILL_TOKENS, Worker, check
from bench.peers.llama_cpp import PACKAGE, LlamaCpp
from bench.quality.task import text
from bench.report import Report, compare
from kvtape.model.registry import resolve

MODEL = os.environ.get("KVTAPE_TEST_MODEL", "smollm2-135m")
RESULTS = Path("bench/results")
CONTENDERS: dict[str, tuple[str, list[str]]] = {
    "kvtape": ("bench.llama_cpp.kvtape", []),
    "llama.cpp avx2": ("bench.llama_cpp.llama_cpp", ["--backend", "haswell"]),
    "llama.cpp avx512": ("bench.llama_cpp.llama_cpp", ["--backend", "zen4"]),
}
BASE = "llama.cpp avx2"
LOADS = 3  # processes started a contender, for the load time
PREFILL_SHIFT = 61  # every prefill starts elsewhere in the text, so that no prefix cache can help


def tokenize(model: Path) -> list[int]:
    """Return the ids of the text, by llama.cpp's tokenizer."""
    peer = LlamaCpp(model, backend="haswell", n_ctx=32, n_threads=1)
    ids = peer.tokenize(text())
    peer.close()
    return ids


def prefill_jobs(workers: dict[str, Worker], ids: list[int]) -> dict[str, Callable[[], object]]:
    """Return the job that reads PREFILL_TOKENS new ids each time it is called, a contender."""

    def job(worker: Worker, rounds: itertools.count[int]) -> object:
        begin = PREFILL_SHIFT * next(rounds)
        return worker.ask("first_token", ids=ids[begin : begin + PREFILL_TOKENS])

    return {name: partial(job, worker, itertools.count(1)) for name, worker in workers.items()}


def decode_jobs(workers: dict[str, Worker], held: list[int]) -> dict[str, Callable[[], object]]:
    """Return the job that generates DECODE_TOKENS after `held`, a contender."""
    for worker in workers.values():
        worker.ask("hold", ids=held)
    return {name: partial(worker.ask, "decode", n_tokens=DECODE_TOKENS) for name, worker in workers.items()}


def start(stack: ExitStack, model: Path, name: str, threads: int) -> tuple[Worker, dict[str, Any]]:
    """Start a contender LOADS times; keep the last one, and return the times the others took as well."""
    module, options = CONTENDERS[name]
    seconds = []
    for i in range(LOADS):
        worker = Worker(module, model, ["--threads", str(threads), *options])
        seconds.append(worker.about["load_seconds"])
        if i + 1 < LOADS:
            worker.close()
    stack.callback(worker.close)
    print(f"{name}: {check(worker)} next tokens are right", file=sys.stderr)
    return worker, {"load_seconds": seconds, "about": worker.about}


def run(model: Path, names: list[str], threads: int, n_rounds: int) -> None:
    """Measure all contenders with one number of threads; print and write the reports."""
    ids = tokenize(model)
    with ExitStack() as stack:
        started = {name: start(stack, model, name, threads) for name in names}
        workers = {name: worker for name, (worker, _) in started.items()}
        workloads = (
            ("prefill", PREFILL_TOKENS, 0, lambda: prefill_jobs(workers, ids)),
            ("decode", DECODE_TOKENS, 0, lambda: decode_jobs(workers, ids[:1])),
            ("decode", DECODE_TOKENS, LONG_CONTEXT, lambda: decode_jobs(workers, ids[:LONG_CONTEXT])),
        )
        for what, n_tokens, context, make_jobs in workloads:
            report = compare(
                "llama_cpp",
                make_jobs(),
                base=BASE,
                params={"": what, "tokens": n_tokens, "context": context, "threads": threads},
                versions={name: str(worker.about["version"]) for name, worker in workers.items()},
                n_rounds=n_rounds,
                n_warmup=1,
            )
            report.show()
            show_rates(report, n_tokens)
            report.write(RESULTS)
        about = {name: found | workers[name].ask("memory") for name, (_, found) in started.items()}
    for name, found in about.items():
        load, peak, own = statistics.median(found["load_seconds"]), found["peak_rss_bytes"], found["anonymous_bytes"]
        print(f"{name}: load {load:.3f} s, peak RSS {peak / 1e6:.0f} MB, anonymous now {own / 1e6:.0f} MB")
    (RESULTS / f"llama_cpp-load-threads{threads}.json").write_text(json.dumps(about, indent=1) + "\n")


def show_rates(report: Report, n_tokens: int) -> None:
    """Print tokens a second."""
    for timing in report.timings:
        slow, fast = n_tokens / timing.spread[1], n_tokens / timing.spread[0]
        print(f"  {timing.name:18}{n_tokens / timing.middle:9.1f} tokens/s ({slow:.1f} .. {fast:.1f})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default=MODEL, help="a .gguf or an alias (default: %(default)s)")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    has_avx512 = "avx512_bf16" in Path("/proc/cpuinfo").read_text()
    names = [name for name in CONTENDERS if has_avx512 or name != "llama.cpp avx512"]
    model = resolve(args.model)
    print(f"{model.name}; peer: {PACKAGE}")
    for threads in args.threads:
        run(model, names, threads, args.rounds)


if __name__ == "__main__":
    main()
