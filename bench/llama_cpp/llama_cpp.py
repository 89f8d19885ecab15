"""Contender: llama.cpp, or a fork of it.

python -m bench.llama_cpp.llama_cpp MODEL --threads N --backend haswell|zen4|ik [--kv-type f16|q8_0] [--n-batch N]
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from bench.llama_cpp.task import serve
from bench.peers.ik_llama_cpp import IkLlamaCpp
from bench.peers.llama_cpp import N_BATCH, LlamaCpp

CONTEXT_STEP = 256  # llama.cpp pads its contexts to this


class Peer:
    def __init__(self, core: LlamaCpp) -> None:
        self._core = core
        self._lengths: list[int] = []

    def hold(self, prompts: list[list[int]], n_sequences: int, n_more: int) -> None:
        shared = len(prompts) < n_sequences
        longest = max(map(len, prompts))
        each = -(-(longest + n_more) // CONTEXT_STEP) * CONTEXT_STEP
        n_ctx = longest + n_sequences * n_more if shared else n_sequences * each
        self._core.reset(-(-n_ctx // CONTEXT_STEP) * CONTEXT_STEP, n_sequences=n_sequences, shared=shared)
        for i, ids in enumerate(prompts):
            if ids:
                self._core.feed(ids, 0, sequence=i)
        self._lengths = [len(prompts[0])] * n_sequences if shared else [len(ids) for ids in prompts]
        for i in range(1, n_sequences if shared else 1):
            self._core.fork(i)

    def run(self, tails: list[list[int]], n_tokens: int) -> list[list[int]]:
        tokens = [token for tail in tails for token in tail]
        positions = [n + i for n, tail in zip(self._lengths, tails, strict=True) for i in range(len(tail))]
        sequences = [i for i, tail in enumerate(tails) for _ in tail]
        wanted = [int(i == len(tail) - 1) for tail in tails for i in range(len(tail))]
        rows = [self._best(tokens, positions, sequences, wanted)]
        ends = [n + len(tail) for n, tail in zip(self._lengths, tails, strict=True)]
        everyone = range(len(tails))
        for i in range(n_tokens - 1):
            rows.append(self._best(rows[-1], [end + i for end in ends], everyone, [1] * len(tails)))
        for i, n in enumerate(self._lengths):
            self._core.truncate(n, i)
        return [list(column) for column in zip(*rows, strict=True)]

    def _best(self, *batch: Any) -> list[int]:
        return [int(token) for logits in self._core.decode(*batch) for token in logits.argmax(axis=-1)]

    def describe(self) -> dict[str, Any]:
        return dict(self._core.describe())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--backend", required=True)
    parser.add_argument("--kv-type", default="f16")
    parser.add_argument("--n-batch", type=int, default=N_BATCH)
    args = parser.parse_args()
    kind = IkLlamaCpp if args.backend == "ik" else LlamaCpp
    began = time.perf_counter()
    core = kind(
        args.model,
        backend=args.backend,
        n_ctx=256,
        n_threads=args.threads,
        kv_type=args.kv_type,
        n_batch=args.n_batch,
    )
    serve(Peer(core), began)


if __name__ == "__main__":
    main()
