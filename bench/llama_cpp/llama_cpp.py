"""Contender: llama.cpp. `python -m bench.llama_cpp.llama_cpp MODEL --threads N --backend haswell|zen4`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from bench.llama_cpp.task import N_CTX, serve
from bench.peers.llama_cpp import LlamaCpp


class Peer:
    def __init__(self, core: LlamaCpp) -> None:
        self._core = core
        self._held: list[int] = []

    def first_token(self, ids: list[int]) -> int:
        self._core.clear()
        return int(self._core.feed(ids, 0)[0].argmax())

    def hold(self, ids: list[int]) -> None:
        self._core.clear()
        if len(ids) > 1:
            self._core.feed(ids[:-1], 0)
        self._held = ids

    def decode(self, n_tokens: int) -> int:
        begin = len(self._held) - 1
        self._core.truncate(begin)
        token = self._held[-1]
        for i in range(n_tokens):
            token = int(self._core.feed([token], begin + i)[0].argmax())
        return n_tokens

    def describe(self) -> dict[str, Any]:
        return dict(self._core.describe())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--backend", required=True)
    args = parser.parse_args()
    core = LlamaCpp(args.model, backend=args.backend, n_ctx=N_CTX, n_threads=args.threads)
    serve(Peer(core), core.load_seconds)


if __name__ == "__main__":
    main()
