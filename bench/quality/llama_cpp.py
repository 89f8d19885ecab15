"""Contender: llama.cpp. `python -m bench.quality.llama_cpp MODEL IDS.npy LOGITS.npy [--backend haswell|zen4]`."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from bench.peers.llama_cpp import LlamaCpp


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("ids", type=Path)
    parser.add_argument("logits", type=Path)
    parser.add_argument("--backend", default="haswell")
    args = parser.parse_args()
    ids = np.load(args.ids).tolist()
    peer = LlamaCpp(args.model, backend=args.backend, n_ctx=len(ids), n_threads=2)
    np.save(args.logits, peer.logits(ids))
    peer.close()


if __name__ == "__main__":
    main()
