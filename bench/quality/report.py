"""Perplexity, KL and top-1 agreement of each contender against a float32 forward pass of the dequantised weights.

python -m bench.quality.report MODEL.gguf [--only NAME ...] [--windows 3]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

import numpy as np

from bench.peers.llama_cpp import PACKAGE, LlamaCpp
from bench.quality.task import N_WINDOWS, Comparison, compare, join, run_contender, text, windows
from bench.report import machine
from kvtape.model.registry import resolve
from tests.reference.transformer import TransformerReference

MODEL = os.environ.get("KVTAPE_TEST_MODEL", "smollm2-135m")
RESULTS = Path("bench/results")
CONTENDERS: dict[str, tuple[str, list[str]]] = {
    "llama.cpp avx2": ("bench.quality.llama_cpp", ["--backend", "haswell"]),
    "llama.cpp avx512": ("bench.quality.llama_cpp", ["--backend", "zen4"]),
    "kvtape": ("bench.quality.kvtape", []),
    "kvtape q8_0 KV": ("bench.quality.kvtape", ["--kv-type", "q8_0"]),
}
KL_LIMIT = 1.1  # times llama.cpp's
PERPLEXITY_LIMIT = 0.005


def tokenize(model: Path) -> list[int]:
    """Return the text's ids by llama.cpp's tokenizer, so that every contender gets the same."""
    peer = LlamaCpp(model, backend="haswell", n_ctx=32, n_threads=1)
    ids = peer.tokenize(text())
    peer.close()
    return ids


def measure(model: Path, names: list[str], n_windows: int) -> dict[str, dict[str, float]]:
    """Run every contender over every window."""
    reference = TransformerReference(model, np.float32)
    parts: dict[str, list[Comparison]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as scratch:
        for i, ids in enumerate(windows(tokenize(model))[:n_windows]):
            expected = reference.forward(np.asarray(ids))
            for name in names:
                print(f"window {i}: {name}", file=sys.stderr)
                module, options = CONTENDERS[name]
                logits = run_contender(module, model, ids, Path(scratch), options)
                parts[name].append(compare(expected, logits, ids))
    results = {name: join(found).summary() for name, found in parts.items()}
    nll = join(parts[names[0]]).reference_nll
    results["float32"] = {"n_positions": len(nll), "perplexity": float(np.exp(nll.mean()))}
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default=MODEL, help="a .gguf or an alias (default: %(default)s)")
    parser.add_argument("--only", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    parser.add_argument("--windows", type=int, choices=range(1, N_WINDOWS + 1), default=N_WINDOWS)
    args = parser.parse_args()
    model = resolve(args.model)
    results = measure(model, args.only, args.windows)
    print(f"{model.name}; yardstick: float32 forward pass of the dequantised weights; peer: {PACKAGE}")
    print(f"{'':18}{'positions':>10}{'perplexity':>12}{'ratio':>9}{'+-':>9}{'mean KL':>11}{'p99 KL':>10}{'top-1':>8}")
    for name, row in results.items():
        print(f"{name:18}{row['n_positions']:10d}{row['perplexity']:12.4f}", end="")
        if "mean_kl" in row:
            print(
                f"{row['perplexity_ratio']:9.5f}{row['perplexity_ratio_error']:9.5f}{row['mean_kl']:11.6f}{row['p99_kl']:10.5f}",
                end="",
            )
            print(f"{row['top1_agreement']:8.4f}", end="")
        print()
    RESULTS.mkdir(parents=True, exist_ok=True)
    record = {"model": model.name, "peer": PACKAGE, "machine": machine(), "results": results}
    (RESULTS / f"quality-{model.stem}.json").write_text(json.dumps(record, indent=1) + "\n")
    if {"kvtape", "llama.cpp avx2"} <= results.keys():
        ours, peer = results["kvtape"], results["llama.cpp avx2"]
        good = abs(ours["perplexity_ratio"] - 1) <= PERPLEXITY_LIMIT and ours["mean_kl"] <= KL_LIMIT * peer["mean_kl"]
        print(f"mean KL is {ours['mean_kl'] / peer['mean_kl']:.3f} of llama.cpp's: {'good' if good else 'TOO FAR'}")
        sys.exit(not good)


if __name__ == "__main__":
    main()
