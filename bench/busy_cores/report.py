"""Decode while other programs want the cores too: what is left of the undisturbed speed.

    python -m bench.busy_cores.report [MODEL] [--threads 2] [--busy 8] [--rounds 5]

With 2 threads and 8 others on 2 cores the fair share is a fifth. The disturbers are loops that never sleep, started by
this program. Contenders are those of bench/llama_cpp.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median, quantiles

from bench.llama_cpp.report import BASE, CONTENDERS, MODEL, OURS, checked, start, tokenize
from bench.llama_cpp.task import Yardstick
from bench.llama_cpp.workloads import Workload
from bench.report import compare
from kvtape.model.registry import resolve

RESULTS = Path("bench/results")
WORKLOAD = Workload("decode-0", 0, n_tokens=16)
GOAL = 0.5  # of the fair share


@contextmanager
def disturbers(n: int) -> Iterator[None]:
    """Run n loops that never sleep until the block ends."""
    loops = [subprocess.Popen([sys.executable, "-S", "-c", "while True: pass"]) for _ in range(n)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default=MODEL, help="a .gguf or an alias (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--busy", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=[OURS, BASE])
    args = parser.parse_args()
    model = resolve(args.model)
    ids = tokenize(model)
    n_cores = len(os.sched_getaffinity(0))
    fair = min(1.0, n_cores / (args.threads + args.busy))
    with ExitStack() as stack:
        workers = start(stack, model, args.contenders, ["--threads", str(args.threads)])
        workers = checked(workers, WORKLOAD, Yardstick(model, ids))
        for worker in workers.values():
            worker.hold(WORKLOAD, ids)
        free = {name: [worker.run(WORKLOAD, ids, n) for n in range(args.rounds)] for name, worker in workers.items()}
        with disturbers(args.busy):
            report = compare(
                "busy_cores",
                {name: (lambda worker=worker: worker.run(WORKLOAD, ids, 0)) for name, worker in workers.items()},
                base=BASE if BASE in workers else OURS,
                params={"": WORKLOAD.name, "busy": args.busy, "cores": n_cores, "threads": args.threads},
                versions={name: str(worker.about["version"]) for name, worker in workers.items()},
                unit="tokens",
                n_units=WORKLOAD.n_units,
                n_rounds=args.rounds,
                n_warmup=0,
            )
    report.show()
    report.write(RESULTS)
    for timing in report.timings:
        undisturbed = median(free[timing.name])
        low, middle, high = quantiles([undisturbed / each / fair for each in timing.seconds], n=4, method="inclusive")
        verdict = f", goal {GOAL}: {'met' if middle >= GOAL else 'MISSED'}" if timing.name == OURS else ""
        print(f"  {timing.name}: {middle:.2f} ({low:.2f} .. {high:.2f}) of its fair share{verdict}")


if __name__ == "__main__":
    main()
