"""Contender: kvtape. `python -m bench.quality.kvtape MODEL IDS.npy LOGITS.npy [--isa NAME] [--kv-type f16|q8_0]`."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from kvtape.model.load import load


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("ids", type=Path)
    parser.add_argument("logits", type=Path)
    parser.add_argument("--isa", default=None)
    parser.add_argument("--kv-type", default="f16")
    args = parser.parse_args()
    model = load(args.model)
    np.save(args.logits, model.forward_logits(np.load(args.ids), kv_type=args.kv_type, isa=args.isa, n_threads=2))


if __name__ == "__main__":
    main()
