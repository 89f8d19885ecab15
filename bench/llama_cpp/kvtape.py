"""Contender: kvtape. `python -m bench.llama_cpp.kvtape MODEL --threads N [--isa ref|avx2]`."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import kvtape
from bench.llama_cpp.task import N_CTX, serve


class Ours:
    def __init__(self, engine: kvtape.Engine, isa: str) -> None:
        self._engine = engine
        self._isa = isa
        self._held = engine.open()

    def first_token(self, ids: list[int]) -> int:
        sequence = self._engine.open()
        sequence.append(ids)
        event = next(sequence.generate(max_tokens=1, ignore_eos=True))
        sequence.close()
        return event.token_id

    def hold(self, ids: list[int]) -> None:
        self._held.close()
        self._held = self._engine.open()
        self._held.append(ids)
        self._held.resident()

    def decode(self, n_tokens: int) -> int:
        twin = self._held.fork()
        n_events = sum(1 for _ in twin.generate(max_tokens=n_tokens, ignore_eos=True))
        twin.close()
        return n_events

    def describe(self) -> dict[str, Any]:
        return {"version": kvtape.__version__, "isa": self._isa}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--isa", default="avx2")
    args = parser.parse_args()
    began = time.perf_counter()
    engine = kvtape.Engine(args.model, n_ctx=N_CTX, n_threads=args.threads, isa=args.isa)
    serve(Ours(engine, args.isa), time.perf_counter() - began)


if __name__ == "__main__":
    main()
