"""How long rows wait under many sessions that push, and whether all of them wait alike.

python -m bench.fairness.report [MODEL.gguf] [--sessions N ...] [--rows 20] [--seconds 15] [--queries 0] [--chat]

Without a model: a tiny random one, so that 64 sessions of 20 rows a second are carried, and what is seen is the way of
the rows and not the model's arithmetic.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from bench.fairness.task import Load, Waits, push_all
from bench.report import machine
from kvtape import AsyncEngine
from kvtape.model.registry import resolve
from tests.reference.tiny_model import TinySpec, write_tiny_model

RESULTS = Path("bench/results")
SESSIONS = (1, 4, 16, 64)
CARRIED = 0.95  # of the rows settled before the end of the time


def summary(load: Load, waits: Waits) -> dict[str, Any]:
    """Return quantiles over all rows and over the sessions' medians, in ms."""
    every = np.concatenate([np.array(each) for each in waits.of]) * 1e3
    medians = np.array([np.median(each) for each in waits.of]) * 1e3
    worst = np.array([max(each) for each in waits.of]) * 1e3
    return {
        "sessions": load.n_sessions,
        "p50": float(np.quantile(every, 0.5)),
        "p99": float(np.quantile(every, 0.99)),
        "worst": float(every.max()),
        "median of a session, least": float(medians.min()),
        "median of a session, most": float(medians.max()),
        "worst of a session, least": float(worst.min()),
        "settled share": waits.n_settled / waits.n_pushed,
        "rows/s": waits.n_settled / load.seconds,
        "steps/s": waits.n_steps / load.seconds,
        "chat ms p50": float(np.median(waits.chat_gaps) * 1e3) if waits.chat_gaps else None,
        "chat tokens/s": waits.n_chat_tokens / load.seconds if load.one_chats else None,
    }


def show(found: list[dict[str, Any]]) -> None:
    print(
        f"  {'ms, push to settled':>20}{'p50':>9}{'p99':>9}{'worst':>9}{'session medians':>19}{'worst, from':>12}"
        f"{'carried':>9}{'rows/s':>8}{'steps/s':>9}{'chat tok/s':>12}"
    )
    for row in found:
        medians = f"{row['median of a session, least']:.1f} .. {row['median of a session, most']:.1f}"
        chat = row["chat tokens/s"]
        print(
            f"  {row['sessions']:>11} sessions{row['p50']:9.1f}{row['p99']:9.1f}{row['worst']:9.1f}{medians:>19}"
            f"{row['worst of a session, least']:12.1f}{row['settled share']:9.3f}{row['rows/s']:8.0f}"
            f"{row['steps/s']:9.0f}{'' if chat is None else f'{chat:.1f}':>12}"
        )


async def measure(model: Path, loads: list[Load], threads: int) -> list[dict[str, Any]]:
    found = []
    async with AsyncEngine(model, n_ctx=2048, kv_memory="512M", n_threads=threads) as engine:
        for load in loads:
            found.append(summary(load, await push_all(engine, load)))
            if found[-1]["settled share"] < CARRIED:
                break  # more than it carries
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", help="a .gguf or an alias (default: a tiny one)")
    parser.add_argument("--sessions", type=int, nargs="*", default=SESSIONS)
    parser.add_argument("--rows", type=float, default=20.0, help="a second, to each session")
    parser.add_argument("--seconds", type=float, default=15.0, help="for each number of sessions")
    parser.add_argument("--queries", type=int, default=0, help="flash queries of each session")
    parser.add_argument("--chat", action="store_true", help="one client has a long answer written beside it")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    loads = [Load(n, args.rows, args.seconds, n_queries=args.queries, one_chats=args.chat) for n in args.sessions]
    with tempfile.TemporaryDirectory() as folder:
        if args.model:
            model = resolve(args.model)
        else:
            model = write_tiny_model(Path(folder) / "tiny.gguf", TinySpec(n_layers=1, n_ctx=2048))
        found = asyncio.run(measure(model, loads, args.threads))
    print(f"{model.name}, {args.threads} threads, {args.rows:g} rows/s to each session, {args.queries} flash queries")
    show(found)
    RESULTS.mkdir(parents=True, exist_ok=True)
    record = {"model": model.name, "loads": [asdict(load) for load in loads], "machine": machine(), "found": found}
    name = f"fairness-{model.stem}-queries{args.queries}{'-chat' * args.chat}.json"
    (RESULTS / name).write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
