"""Latencies of a live session through the real HTTP server, against resending the whole context; and import time.

python -m bench.session.report MODEL.gguf [--threads 2] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.report import machine
from bench.session.task import QUERIES, QUESTION, SessionClient, candles, running_server
from kvtape.model.registry import resolve

MODEL = os.environ.get("KVTAPE_TEST_MODEL", "smollm2-135m")
RESULTS = Path("bench/results")
N_PUSHES = 200
FLASH_CONTEXT = 100  # candles there before flash answers are timed
FLASH_COUNTS = (1, 4, 16)
FLASH_PUSHES = 12
QUESTION_CONTEXTS = (50, 150, 300)
QUESTION_REPS = 8
ANSWER_TOKENS = 8
MAX_CACHED = 32  # tokens of a resent context that may be found in the cache: less than the chat template's start
IMPORT_REPS = 15
IMPORT_PROBE = """
import kvtape, pathlib, sys
threads = pathlib.Path("/proc/self/status").read_text().split("Threads:")[1].split()[0]
loaded = [name for name in ("numpy", "kvtape._core", "socket", "asyncio") if name in sys.modules]
print(threads, *loaded)
"""


def spread(seconds: Sequence[float]) -> dict[str, float]:
    """Return p50, p99, p99.9 and the longest, in milliseconds."""
    p50, p99, p999 = np.quantile(seconds, [0.5, 0.99, 0.999]) * 1e3
    return {"n": len(seconds), "p50_ms": p50, "p99_ms": p99, "p999_ms": p999, "max_ms": max(seconds) * 1e3}


def measure_push(url: str) -> dict[str, Any]:
    """Push one candle at a time into a session without flash queries; each waits until the one before is resident."""
    client, rows = SessionClient(url), candles(N_PUSHES)
    acknowledged, resident = [], []
    for i, row in enumerate(rows):
        sent, done = client.push([row])
        acknowledged.append(done - sent)
        resident.append(client.resident(i + 1).at - sent)
    client.close()
    return {"push acknowledged": spread(acknowledged), "push to resident": spread(resident)}


def measure_flash(url: str, n_queries: int) -> dict[str, Any]:
    """Time resident -> first and last flash answer of the same version."""
    client, rows = SessionClient(url, n_queries=n_queries), candles(FLASH_CONTEXT + FLASH_PUSHES)
    client.push(rows[:FLASH_CONTEXT])
    client.flash_ready(client.resident(FLASH_CONTEXT).data["data_version"], n_queries)
    first, last = [], []
    for i in range(FLASH_CONTEXT, len(rows)):
        client.push([rows[i]])
        updated = client.resident(i + 1)
        answers = client.flash_ready(updated.data["data_version"], n_queries)
        first.append(answers[0].at - updated.at)
        last.append(answers[-1].at - updated.at)
    client.close()
    return {"to first": spread(first), "to last": spread(last)}


def measure_question(url: str, n_rows: int) -> dict[str, Any]:
    """Time push + question + answer in a session, and the same question with the whole context sent again."""
    client, rows = SessionClient(url), candles(n_rows + QUESTION_REPS)
    client.push(rows[:n_rows])
    client.resident(n_rows)
    live, resent, answer, completion = [], [], {}, {}
    for i in range(n_rows, len(rows)):
        sent, _ = client.push([rows[i]])
        answer = client.ask(QUESTION, ANSWER_TOKENS)
        live.append(time.perf_counter() - sent)
        text = re.sub(r"<\|[^|]*\|>", "", client.context_text())
        began = time.perf_counter()
        completion = client.chat(f"Request {n_rows}-{i}-{time.time_ns()}.\n{text}\n{QUESTION}", ANSWER_TOKENS)
        resent.append(time.perf_counter() - began)
        cached = completion["usage"]["prompt_tokens_details"]["cached_tokens"]
        if cached > MAX_CACHED:
            raise RuntimeError(f"{cached} tokens of the resent context came from the cache")
    client.close()
    ratios = [slow / fast for fast, slow in zip(live, resent, strict=True)]
    return {
        "session_tokens": answer["total_tokens"],
        "resent_tokens": completion["usage"]["prompt_tokens"],
        "push and question": spread(live),
        "resending": spread(resent),
        "factor": {"median": statistics.median(ratios), "low": min(ratios), "high": max(ratios)},
    }


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
    return {"median_ms": statistics.median(extra) * 1e3, "threads": int(threads), "modules_loaded": loaded}


def line(name: str, found: dict[str, float]) -> str:
    return (
        f"  {name:34}{found['p50_ms']:10.1f}{found['p99_ms']:10.1f}{found['p999_ms']:10.1f}{found['max_ms']:10.1f}"
        f"{found['n']:6d}"
    )


def show(results: dict[str, Any]) -> None:
    print(f"  {'milliseconds':34}{'p50':>10}{'p99':>10}{'p99.9':>10}{'longest':>10}{'n':>6}")
    for name, found in results["push"].items():
        print(line(name, found))
    for n_queries, found in results["flash"].items():
        for name, times in found.items():
            print(line(f"resident {name} of {n_queries} answers", times))
    for n_rows, found in results["question"].items():
        print(line(f"push + question at {n_rows} candles", found["push and question"]))
        print(line(f"resending {found['resent_tokens']} tokens", found["resending"]))
        factor = found["factor"]
        print(
            f"{'':36}resending takes {factor['median']:.1f} times as long ({factor['low']:.1f} to {factor['high']:.1f})"
        )
    imported = results["import"]
    print(
        f"  import kvtape: {imported['median_ms']:.1f} ms, {imported['threads']} thread(s), "
        f"loaded of numpy, native, socket, asyncio: {', '.join(imported['modules_loaded']) or 'none'}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default=MODEL, help="a .gguf or an alias (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    model = resolve(args.model)
    assert max(FLASH_COUNTS) <= len(QUERIES)
    results: dict[str, Any] = {"import": measure_import()}
    with running_server(model, args.threads) as url:
        results["push"] = measure_push(url)
        results["flash"] = {n: measure_flash(url, n) for n in FLASH_COUNTS}
        results["question"] = {n: measure_question(url, n) for n in QUESTION_CONTEXTS}
    print(f"{model.name}, {args.threads} threads, loopback HTTP, answers of at most {ANSWER_TOKENS} tokens")
    show(results)
    RESULTS.mkdir(parents=True, exist_ok=True)
    record = {"model": model.name, "threads": args.threads, "machine": machine(), "results": results}
    (RESULTS / f"session-threads{args.threads}.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
