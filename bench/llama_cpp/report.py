"""Prefill, decode and many sequences: kvtape, llama.cpp, its fork and the machine's limit, taking turns in one run.

    python -m bench.llama_cpp.report [MODEL] [--only decode-4096 ...] [--threads 2] [--rounds N] [--contenders ...]

Each workload is a run of its own of one to two minutes. Ratios are to llama.cpp with the best backend that this CPU
runs; `--base "llama.cpp avx2"` holds it to AVX2. A peer whose answers are wrong for a workload is named and left out.
"""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import ExitStack
from functools import partial
from itertools import count
from pathlib import Path

from bench.llama_cpp.limits import Cost, Limit, ModelShape, program
from bench.llama_cpp.task import Worker, Yardstick, check
from bench.llama_cpp.workloads import WORKLOADS, Workload
from bench.peers.ik_llama_cpp import RIGHT_BATCH, libraries
from bench.peers.llama_cpp import PACKAGE, LlamaCpp
from bench.quality.task import text
from bench.report import Report, compare
from kvtape.model.registry import resolve

MODEL = os.environ.get("KVTAPE_TEST_MODEL", "smollm2-135m")
RESULTS = Path("bench/results")
HAS_AVX512 = "avx512_bf16" in Path("/proc/cpuinfo").read_text()
OURS, BASE, LIMIT = "kvtape", "llama.cpp", "limit"
FORK, FORK_BY_FEW = "ik_llama.cpp", f"ik_llama.cpp by {RIGHT_BATCH}"
PEER = "bench.llama_cpp.llama_cpp"
DEFAULT_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
OTHER_GOALS = {"decode-0": 2.0, "decode-512": 2.0, "prefill-512": 2.5}  # other models and formats
CONTENDERS: dict[str, tuple[str, list[str]]] = {
    OURS: ("bench.llama_cpp.kvtape", []),
    BASE: (PEER, ["--backend", "zen4" if HAS_AVX512 else "haswell"]),
    "llama.cpp avx2": (PEER, ["--backend", "haswell"]),
    FORK: (PEER, ["--backend", "ik"]),
    FORK_BY_FEW: (PEER, ["--backend", "ik", "--n-batch", str(RIGHT_BATCH)]),
}


def tokenize(model: Path) -> list[int]:
    """Return the ids of the text, by llama.cpp's tokenizer."""
    peer = LlamaCpp(model, backend="haswell", n_ctx=32, n_threads=1)
    ids = peer.tokenize(text())
    peer.close()
    return ids


def start(stack: ExitStack, model: Path, names: list[str], options: list[str]) -> dict[str, Worker]:
    """Start the contenders; one that cannot run the model is named and left out."""
    workers = {}
    for name in names:
        module, own = CONTENDERS[name]
        try:
            workers[name] = Worker(module, model, [*options, *own])
        except RuntimeError as error:
            print(f"{model.name}: {name} is left out: {error}", file=sys.stderr)
            continue
        stack.callback(workers[name].close)
    return workers


def checked(workers: dict[str, Worker], workload: Workload, yardstick: Yardstick) -> dict[str, Worker]:
    """Return the contenders whose answers to `workload` are right.

    Raises:
        ValueError: ours is wrong.
    """
    right = {}
    for name, worker in workers.items():
        try:
            n = check(worker, workload, yardstick)
        except ValueError as error:
            if name == OURS:
                raise
            print(f"{name} is WRONG and not timed: {error}", file=sys.stderr)
            continue
        print(f"{name}: {n} next tokens are right", file=sys.stderr)
        right[name] = worker
    if FORK in right:
        right.pop(FORK_BY_FEW, None)  # is there for where the fork is wrong with large batches
    return right


def measure(
    workload: Workload, workers: dict[str, Worker], limit: Limit, cost: Cost, ids: list[int], args: argparse.Namespace
) -> Report:
    """Time one workload."""
    for worker in workers.values():
        worker.hold(workload, ids)
    jobs = {name: partial(_next, worker, workload, ids, count(1)) for name, worker in workers.items()}
    return compare(
        "llama_cpp",
        jobs | {LIMIT: partial(limit.run, cost)},
        base=args.base if args.base in workers else OURS,
        limit=LIMIT,
        params={"": workload.name, "model": Path(args.model).stem, "threads": args.threads},
        versions={name: str(worker.about["version"]) for name, worker in workers.items()},
        unit="tokens",
        n_units=workload.n_units,
        n_rounds=args.rounds or workload.n_rounds,
        n_warmup=0 if workload.n_units > 1000 else 1,
    )


def _next(worker: Worker, workload: Workload, ids: list[int], rounds: count[int]) -> float:
    return worker.run(workload, ids, next(rounds))


def show_goals(report: Report, workload: Workload, cost: Cost, model: Path) -> None:
    """Print how ours stands to the goals of the workload, which are lower for other models and formats."""
    ours, is_default = report.timing(OURS), model.name == DEFAULT_FILE
    goal = workload.goal if is_default else OTHER_GOALS.get(workload.name)
    if goal is not None:
        verdict = "met" if ours.ratio >= goal else "MISSED"
        print(f"  {ours.ratio:.2f} times {report.base}, goal {goal}: {verdict}")
    if is_default and workload.goal_share is not None and ours.share is not None:
        verdict = "met" if ours.share >= workload.goal_share else "MISSED"
        print(f"  {ours.share:.2f} of the limit, goal {workload.goal_share}: {verdict}")
    if cost.prefix_bytes:
        print(f"  a step reads {cost.prefix_bytes / 1e6:.1f} MB of shared prefix, once for {workload.n_sequences}")


def show_memory(workers: dict[str, Worker]) -> None:
    """Print how long each took from the model's path to the first token, and the memory it has by now."""
    for name, worker in workers.items():
        found = worker.ask("memory")
        peak, own = found["peak_rss_bytes"] / 1e6, found["anonymous_bytes"] / 1e6
        loaded = worker.about["load_seconds"]
        print(f"  {name}: first token {loaded:.3f} s after the start, peak {peak:.0f} MB, anonymous now {own:.0f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default=MODEL, help="a .gguf or an alias (default: %(default)s)")
    parser.add_argument("--only", nargs="+", choices=WORKLOADS, default=list(WORKLOADS))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, help="default: the workload's own number")
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=[OURS, BASE, FORK, FORK_BY_FEW])
    parser.add_argument("--base", choices=CONTENDERS, default=BASE)
    args = parser.parse_args()
    limits = program()
    if limits is None:
        parser.error("no bench_limits: `cmake --build --preset release --target bench_limits`, or KVTAPE_BENCH_LIMITS")
    names = [name for name in CONTENDERS if name in {OURS, args.base, *args.contenders}]
    if libraries() is None and {FORK, FORK_BY_FEW} & set(names):
        print("ik_llama.cpp is left out: KVTAPE_BENCH_IK_LLAMA names no build of it", file=sys.stderr)
        names = [name for name in names if name not in {FORK, FORK_BY_FEW}]
    model = resolve(args.model)
    ids, shape = tokenize(model), ModelShape.read(model)
    yardstick = Yardstick(model, ids)
    print(f"{model.name}, {args.threads} threads; peer: {PACKAGE}")
    for workload in (WORKLOADS[name] for name in args.only):
        with ExitStack() as stack:
            workers = start(stack, model, names, ["--threads", str(args.threads), "--kv-type", workload.kv_type])
            workers = checked(workers, workload, yardstick)
            limit = Limit(limits, args.threads, workers[OURS].about["isa"])
            stack.callback(limit.close)
            cost = Cost.of(workload, shape)
            report = measure(workload, workers, limit, cost, ids, args)
            report.show()
            show_goals(report, workload, cost, model)
            show_memory(workers)
            report.write(RESULTS)


if __name__ == "__main__":
    main()
