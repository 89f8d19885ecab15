"""What drafts save, and what they cost where they are wrong: the same answers with and without them.

    python -m bench.speculation.report [MODEL ...] [--threads 2] [--rounds 7] [--only table,code]

Answers must be equal, event for event, before they are timed, from the first token on. `of N right` counts the drafted
tokens of one answer; `noise` is made so that there is always a draft, and seven in eight are wrong.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import kvtape
from bench.report import Report, compare
from bench.speculation.task import WORKLOADS, Workload, answer
from kvtape.model.registry import resolve

MODEL = os.environ.get("KVTAPE_TEST_MODEL", "smollm2-135m")
RESULTS = Path("bench/results")
GOAL_LOSS = 0.03  # at most, where drafts are wrong


def measure(engine: kvtape.Engine, workload: Workload, params: dict[str, object], n_rounds: int) -> Report:
    """Compare one workload with itself."""
    _, plain = answer(engine, workload, speculate=False)  # the prefix index holds the prompt from here on
    _, plain = answer(engine, workload, speculate=False)
    before = engine.stats()
    _, drafted = answer(engine, workload, speculate=True)
    after = engine.stats()
    if drafted != plain:
        raise RuntimeError(f"{workload.name}: the answer with drafts is another one")
    n_drafted = after.drafted_tokens - before.drafted_tokens
    n_right = after.accepted_tokens - before.accepted_tokens
    n_tokens = sum(map(len, plain))
    report = compare(
        "speculation",
        {
            "with drafts": lambda: answer(engine, workload, speculate=True)[0],
            "without": lambda: answer(engine, workload, speculate=False)[0],
        },
        base="without",
        params={"": workload.name, **params},
        versions={},
        unit="tokens",
        n_units=n_tokens - len(plain),
        n_rounds=n_rounds,
        n_warmup=1,
    )
    report.show()
    print(f"  {n_right} of {n_drafted} right, {n_tokens} tokens in {after.steps - before.steps} steps", end="")
    if workload.name == "noise":
        print(
            f"; goal {1 - GOAL_LOSS:.2f}: {'met' if report.timing('with drafts').ratio >= 1 - GOAL_LOSS else 'MISSED'}",
            end="",
        )
    print(flush=True)
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=[MODEL], help="each a .gguf or an alias (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", default="", help="workloads, with commas between them (default: all)")
    args = parser.parse_args()
    names = args.only.split(",") if args.only else [workload.name for workload in WORKLOADS]
    for model in map(resolve, args.models):
        with kvtape.Engine(model, n_threads=args.threads, n_ctx=4096) as engine:
            for workload in WORKLOADS:
                if workload.name in names:
                    params = {"model": Path(model).stem, "threads": args.threads}
                    measure(engine, workload, params, args.rounds).write(RESULTS)


if __name__ == "__main__":
    main()
