"""From a name or path to a model that engines can run."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from kvtape._native import _core
from kvtape.model.registry import resolve
from kvtape.model.tokenizer import Tokenizer

__all__ = ["Model", "load", "model_name", "usable_cores"]


def usable_cores() -> int:
    """Return how many cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Model:
    """Weights, tokenizer and chat template of one model file. Engines share it; it is never changed."""

    name: str
    path: Path
    core: _core.Model
    tokenizer: Tokenizer
    template_source: str | None  # Jinja; kvtape.chat.template renders it
    bos_text: str = ""  # texts of the tokens that a template may name
    eos_text: str = ""

    @property
    def n_ctx_train(self) -> int:
        """Longest context the model was trained for, in tokens."""
        return self.core.n_ctx_train

    @property
    def n_vocab(self) -> int:
        """Number of token ids."""
        return self.core.vocab_size

    @property
    def n_params(self) -> int:
        """Number of weights."""
        return self.core.n_params

    @property
    def size_bytes(self) -> int:
        """Size of the file's tensors."""
        return self.core.n_bytes

    def forward_logits(
        self,
        ids: npt.NDArray[np.int32],
        *,
        chunk: int = 256,
        kv_type: str = "f16",
        isa: str | None = None,
        n_threads: int = 1,
    ) -> npt.NDArray[np.float32]:
        """Compute the logits of every position of one sequence, apart from any engine.

        Args:
            ids: [n] int32 token ids.
            chunk: tokens a step; changes nothing in the result, by the numerics contract.
            kv_type: how K and V are stored between the chunks: "f16" or "q8_0".
            isa: instruction set; None: the best one, or what KVTAPE_ISA says.
            n_threads: threads, the calling one included; changes nothing in the result either.

        Returns:
            [n, n_vocab] float32.
        """
        return self.core.forward_logits(ids, chunk=chunk, kv_type=kv_type, isa=isa or "", n_threads=n_threads)


def _token_text(tokenizer: Tokenizer, token_id: int | None) -> str:
    return "" if token_id is None else tokenizer.token_text(token_id)


def model_name(model: str | os.PathLike[str]) -> str:
    """Return what a model is called: its alias, or its file's name without the ending. The file need not be there."""
    name = os.fspath(model)
    return Path(name).stem if name.endswith(".gguf") else name


def load(model: str | os.PathLike[str], *, n_threads: int | None = None) -> Model:
    """Read, check and repack a model.

    Args:
        model: an alias of the registry, a path to a `.gguf` file, or `hf:owner/repo/file.gguf`.
        n_threads: threads that repack; None: all cores this process may use.

    Raises:
        NotFound: no such alias or file.
        ModelError: the file is broken, or needs something this version does not have.
    """
    path = resolve(model)
    file = _core.GgufFile(str(path))
    metadata = file.metadata
    with ThreadPoolExecutor(1) as beside:  # weights are repacked without the GIL while the tokenizer is built with it
        weights = beside.submit(_core.Model, file, n_threads=n_threads or usable_cores())
        tokenizer = Tokenizer.from_gguf(metadata)
        core = weights.result()
    source = metadata.get("tokenizer.chat_template")
    bos, eos = (_token_text(tokenizer, metadata.get(f"tokenizer.ggml.{name}_token_id")) for name in ("bos", "eos"))
    return Model(
        name=model_name(model),
        path=path,
        core=core,
        tokenizer=tokenizer,
        template_source=source if isinstance(source, str) else None,
        bos_text=bos,
        eos_text=eos,
    )
