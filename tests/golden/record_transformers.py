"""Record the logits of transformers for the tiny models; see RECORD.md.

pip install torch transformers && python -m tests.golden.record_transformers
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from bench.peers.transformers_f32 import TransformersF32
from tests.golden.tiny_models import N_TOKENS, TINY_MODELS, ids
from tests.reference.tiny_model import write_tiny_model


def main() -> None:
    print(TransformersF32.versions())
    arrays = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, spec in TINY_MODELS.items():
            path = write_tiny_model(Path(folder) / f"{name}.gguf", spec)
            arrays[name] = TransformersF32(path).logits(ids())
            assert len(arrays[name]) == N_TOKENS
    np.savez_compressed(Path(__file__).parent / "tiny_transformers.npz", **arrays)


if __name__ == "__main__":
    main()
