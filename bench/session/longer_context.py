"""A copy of a model whose file says it was trained for a longer context: for timing alone, its answers are noise."""

from __future__ import annotations

import shutil
from pathlib import Path

import gguf

from bench.peers.llama_cpp import cache_folder

__all__ = ["with_context"]


def with_context(model: Path, n_ctx: int) -> Path:
    """Return the path of `model` with `n_ctx` as its trained context; written the first time."""
    path = cache_folder() / "models" / f"{model.stem}-ctx{n_ctx}.gguf"
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    shutil.copyfile(model, part)
    reader = gguf.GGUFReader(part, "r+")
    field = next(field for name, field in reader.fields.items() if name.endswith(".context_length"))
    field.parts[field.data[0]][0] = n_ctx
    reader.data.flush()
    return part.rename(path)
