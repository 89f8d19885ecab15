"""Record what other runtimes say about SmolLM2, for tests/golden.

    python -m bench.quality.record MODEL.gguf

Writes the float32 yardstick over real text, greedy continuations by llama.cpp, and llama.cpp's logits of a tiny model
that hold the numpy reference itself to another implementation.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import tempfile
from pathlib import Path

import numpy as np

from bench.peers.llama_cpp import PACKAGE, LlamaCpp
from bench.quality.task import log_softmax, text, windows
from tests.reference.tiny_model import TinySpec, write_tiny_model
from tests.reference.transformer import TransformerReference

GOLDEN = Path(__file__).parents[2] / "tests" / "golden"
N_POSITIONS = 1024
N_GREEDY = 48
BACKEND = "haswell"
PROMPTS = (
    "The quick brown fox jumps over the lazy dog. Then",
    "def fibonacci(n):\n    ",
    "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n",
)
TINY = TinySpec(weights="f32", tied=False, head_dim=32, n_heads=6, n_kv_heads=2, n_layers=3, rope_freq_base=50000.0)
N_TINY = 40


def record_text(model: Path, peer: LlamaCpp) -> None:
    ids = np.asarray(windows(peer.tokenize(text()))[0][: N_POSITIONS + 1])
    logits = TransformerReference(model, np.float32).forward(ids[:-1])
    second, best = np.partition(logits, -2, axis=-1)[:, -2:].T
    np.savez_compressed(
        GOLDEN / "smollm2_text.npz",
        ids=ids.astype(np.uint16),
        logprob=log_softmax(logits)[np.arange(N_POSITIONS), ids[1:]].astype(np.float32),
        top=logits.argmax(axis=-1).astype(np.uint16),
        margin=(best - second).astype(np.float32),
    )


def record_greedy(model: Path, peer: LlamaCpp) -> None:
    runs = []
    for prompt in PROMPTS:
        ids = peer.tokenize(prompt, parse_special=True)
        tokens, margins = peer.greedy(ids, N_GREEDY)
        runs.append({"prompt": prompt, "ids": ids, "tokens": tokens, "margins": [round(m, 4) for m in margins]})
    digest = hashlib.sha256(model.read_bytes()).hexdigest()
    record = {"model": model.name, "sha256": digest, "peer": peer.describe(), "runs": runs}
    lines = json.dumps(record, indent=1)
    flat = re.sub(r"(?<=[\d\[,])\s+(?=[-\d\]])", " ", lines)  # number lists on one line each
    (GOLDEN / "smollm2_greedy.json").write_text(flat + "\n")


def record_tiny() -> None:
    ids = [int(i) for i in np.random.default_rng(1).integers(0, 300, N_TINY)]
    with tempfile.TemporaryDirectory() as folder:
        path = write_tiny_model(Path(folder) / "tiny.gguf", TINY)
        peer = LlamaCpp(path, backend=BACKEND, n_ctx=N_TINY, n_threads=1)
        logits = peer.logits(ids)
        peer.close()
    np.savez_compressed(GOLDEN / "tiny_llama_cpp.npz", ids=np.asarray(ids), logits=logits)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    args = parser.parse_args()
    print(f"peer: {PACKAGE}, backend {BACKEND}")
    peer = LlamaCpp(args.model, backend=BACKEND, n_ctx=512, n_threads=2)
    record_text(args.model, peer)
    record_greedy(args.model, peer)
    peer.close()
    record_tiny()


if __name__ == "__main__":
    main()
