"""Prefill, decode, load time and memory of kvtape and llama.cpp, taking turns in one run.

python -m bench.llama_cpp.report MODEL.gguf [--threads 1 2] [--only NAME ...] [--reps 7] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench.llama_cpp.task import DECODE_TOKENS, LONG_CONTEXT, PREFILL_TOKENS, Worker, check
from bench.peers.llama_cpp import PACKAGE, LlamaCpp
from bench.quality.task import text

CONTENDERS: dict[str, tuple[str, list[str]]] = {
    "kvtape": ("bench.llama_cpp.kvtape", []),
    "llama.cpp avx2": ("bench.llama_cpp.llama_cpp", ["--backend", "haswell"]),
    "llama.cpp avx512": ("bench.llama_cpp.llama_cpp", ["--backend", "zen4"]),
}
WORKLOADS = ("prefill 512", "decode 128 at 0", "decode 128 at 4096")
LOADS = 3  # processes started a contender, for the load time
PREFILL_SHIFT = 61  # every prefill starts elsewhere in the text, so that no prefix cache can help

Samples = dict[tuple[str, str], list[float]]  # (workload, contender) -> tokens/s, one a repetition


def tokenize(model: Path) -> list[int]:
    peer = LlamaCpp(model, backend="haswell", n_ctx=32, n_threads=1)
    ids = peer.tokenize(text())
    peer.close()
    return ids


def run_workload(worker: Worker, workload: str, rep: int, ids: list[int]) -> float:
    """Run one repetition; return tokens a second."""
    if workload.startswith("prefill"):
        begin = PREFILL_SHIFT * (rep + 1)
        return PREFILL_TOKENS / worker.ask("first_token", ids=ids[begin : begin + PREFILL_TOKENS])["seconds"]
    return DECODE_TOKENS / worker.ask("decode", n_tokens=DECODE_TOKENS)["seconds"]


def measure(workers: dict[str, Worker], ids: list[int], reps: int) -> Samples:
    """Run every workload `reps` times; contenders take turns, in alternating order."""
    samples: Samples = defaultdict(list)
    for workload in WORKLOADS:
        for worker in workers.values():
            worker.ask("hold", ids=ids[:LONG_CONTEXT] if workload.endswith("4096") else ids[:1])
            run_workload(worker, workload, reps, ids)  # warm-up
        for rep in range(reps):
            for name, worker in list(workers.items())[:: 1 if rep % 2 == 0 else -1]:
                samples[workload, name].append(run_workload(worker, workload, rep, ids))
            print(f"{workload}: {rep + 1} of {reps}", file=sys.stderr)
    return samples


def row(samples: Samples, workload: str, name: str) -> dict[str, Any]:
    """Return median and range of a contender, and of its ratio to kvtape, repetition by repetition."""
    found = samples[workload, name]
    out: dict[str, Any] = {"median": statistics.median(found), "low": min(found), "high": max(found)}
    if (workload, "kvtape") in samples and name != "kvtape":
        ratios = [ours / theirs for ours, theirs in zip(samples[workload, "kvtape"], found, strict=True)]
        out["kvtape_ratio"] = {"median": statistics.median(ratios), "low": min(ratios), "high": max(ratios)}
    return out


def run(model: Path, names: list[str], threads: int, reps: int, ids: list[int]) -> dict[str, Any]:
    """Measure all contenders with one thread count."""
    result: dict[str, Any] = {"load": {}, "memory": {}, "speed": {}, "about": {}}
    with ExitStack() as stack:
        workers: dict[str, Worker] = {}
        for name in names:
            module, options = CONTENDERS[name]
            loads = []
            for i in range(LOADS):
                worker = Worker(module, model, ["--threads", str(threads), *options])
                loads.append(worker.about["load_seconds"])
                if i + 1 < LOADS:
                    worker.__exit__()
            workers[name] = stack.enter_context(worker)
            result["load"][name] = {"median": statistics.median(loads), "low": min(loads), "high": max(loads)}
            result["about"][name] = worker.about
            print(f"{name}: {check(worker)} next tokens are right", file=sys.stderr)
        samples = measure(workers, ids, reps)
        result["memory"] = {name: worker.ask("memory") for name, worker in workers.items()}
    result["speed"] = {workload: {name: row(samples, workload, name) for name in names} for workload in WORKLOADS}
    return result


def show(threads: int, result: dict[str, Any]) -> None:
    """Print the table of one thread count."""
    print(f"\n{threads} thread{'s' * (threads > 1)}, tokens/s: median (lowest to highest); kvtape's factor likewise")
    for workload, rows in result["speed"].items():
        for name, found in rows.items():
            line = f"  {workload:20}{name:18}{found['median']:9.1f} ({found['low']:.1f} to {found['high']:.1f})"
            if ratio := found.get("kvtape_ratio"):
                line += f"   kvtape x{ratio['median']:.2f} ({ratio['low']:.2f} to {ratio['high']:.2f})"
            print(line)
    for name, load in result["load"].items():
        memory = result["memory"][name]
        print(
            f"  {name:18} load {load['median']:.3f} s, peak RSS {memory['peak_rss_bytes'] / 1e6:.0f} MB, "
            f"anonymous {memory['anonymous_bytes'] / 1e6:.0f} MB"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--only", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    parser.add_argument("--reps", type=int, default=7)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    cpu = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.processor(),
    )
    print(f"{args.model.name}; {cpu}; peer: {PACKAGE}")
    ids = tokenize(args.model)
    results = {}
    for threads in args.threads:
        results[threads] = run(args.model, args.only, threads, args.reps, ids)
        show(threads, results[threads])
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps({"cpu": cpu, "model": args.model.name, "threads": results}, indent=2))


if __name__ == "__main__":
    main()
