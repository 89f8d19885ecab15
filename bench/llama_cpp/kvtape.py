"""Contender: kvtape. `python -m bench.llama_cpp.kvtape MODEL --threads N [--isa NAME] [--kv-type f16|q8_0]`."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import kvtape
from bench.llama_cpp.task import serve
from kvtape._native import _core

N_CTX = 4352


class Ours:
    def __init__(self, engine: kvtape.Engine, isa: str) -> None:
        self._engine = engine
        self._isa = isa
        self._held: list[kvtape.Sequence] = []

    def hold(self, prompts: list[list[int]], n_sequences: int, n_more: int) -> None:
        for sequence in self._held:
            sequence.close()
        self._held = [self._engine.open() for _ in prompts]
        for sequence, ids in zip(self._held, prompts, strict=True):
            sequence.append([*ids, 0])  # the last token of a sequence has no KV yet
        for sequence, ids in zip(self._held, prompts, strict=True):
            sequence.resident()
            sequence.truncate(len(ids))

    def run(self, tails: list[list[int]], n_tokens: int) -> list[list[int]]:
        held = self._held * len(tails) if len(self._held) == 1 else self._held
        sequences = [sequence.fork() for sequence in held]
        for sequence, ids in zip(sequences, tails, strict=True):
            sequence.append(ids)
        generations = [
            sequence.generate(max_tokens=n_tokens, ignore_eos=True, speculate=False) for sequence in sequences
        ]
        tokens = [[event.token_id for event in generation] for generation in generations]
        for sequence in sequences:
            sequence.close()
        return tokens

    def describe(self) -> dict[str, Any]:
        return {"version": kvtape.__version__, "isa": self._isa}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--isa", default=None)
    parser.add_argument("--kv-type", default="f16")
    args = parser.parse_args()
    began = time.perf_counter()
    engine = kvtape.Engine(args.model, n_ctx=N_CTX, n_threads=args.threads, isa=args.isa, kv_type=args.kv_type)
    serve(Ours(engine, args.isa or _core.active_isa()), began)


if __name__ == "__main__":
    main()
