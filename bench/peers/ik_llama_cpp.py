"""ik_llama.cpp, the fork of llama.cpp that is fastest on CPUs, as a peer; called through ctypes like llama.cpp.

It comes in no package that we know of, so it is a contender only where it has been built: KVTAPE_BENCH_IK_LLAMA names
the folder of its libllama.so and libggml.so (default: ik_llama.cpp in the cache folder). The structures below are those
of commit 8337e4cd (August 2026):

    cmake -S ik_llama.cpp -B build -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON && cmake --build build --target llama
"""

from __future__ import annotations

import ctypes
import os
from ctypes import POINTER, c_bool, c_byte, c_float, c_int8, c_int32, c_uint32, c_void_p
from pathlib import Path

from bench.peers.llama_cpp import Functions, LlamaCpp, Signatures, bind, cache_folder, signatures

__all__ = ["COMMIT", "RIGHT_BATCH", "IkLlamaCpp", "libraries"]

COMMIT = "8337e4cd"
RIGHT_BATCH = (
    31  # from 32 rows on its Q4_1 product is wrong on AVX-512: 47 % of SmolLM2's sure tokens are right, below all
)
# Behind the fields that are named here come others. Structures of this size travel in memory as the last argument, so
# it is enough to have room for what the callee reads; default values come from the callee too.
_ROOM = ("rest", c_byte * 512)


class ModelParams(ctypes.Structure):
    _fields_ = (_ROOM,)


class ContextParams(ctypes.Structure):
    _fields_ = (
        ("seed", c_uint32), ("n_ctx", c_uint32), ("n_batch", c_uint32), ("n_ubatch", c_uint32),
        ("n_seq_max", c_uint32), ("n_threads", c_uint32), ("n_threads_batch", c_uint32), ("max_extra_alloc", c_int32),
        ("worst_case_tokens", c_int32), ("rope_scaling_type", c_int32), ("pooling_type", c_int32),
        ("attention_type", c_int32), ("rope_freq_base", c_float), ("rope_freq_scale", c_float),
        ("yarn_ext_factor", c_float), ("yarn_attn_factor", c_float), ("yarn_beta_fast", c_float),
        ("yarn_beta_slow", c_float), ("yarn_orig_ctx", c_uint32), ("defrag_thold", c_float), ("cb_eval", c_void_p),
        ("cb_eval_user_data", c_void_p), ("type_k", c_int32), ("type_v", c_int32), ("types", c_int32 * 7),
        ("n_first_last", c_int32 * 4), ("logits_all", c_bool), ("embeddings", c_bool), ("offload_kqv", c_bool),
        ("flash_attn", c_bool), _ROOM,
    )  # fmt: skip


class Batch(ctypes.Structure):
    _fields_ = (
        ("n_tokens", c_int32), ("token", POINTER(c_int32)), ("embd", c_void_p), ("pos", POINTER(c_int32)),
        ("n_seq_id", POINTER(c_int32)), ("seq_id", POINTER(POINTER(c_int32))), ("logits", POINTER(c_int8)),
        ("all_pos_0", c_int32), ("all_pos_1", c_int32), ("all_seq_id", c_int32),
    )  # fmt: skip


def libraries() -> Path | None:
    """Return the folder of the fork's libraries, or None where it has not been built."""
    folder = Path(os.environ.get("KVTAPE_BENCH_IK_LLAMA", cache_folder() / "ik_llama.cpp"))
    return folder if (folder / "libllama.so").exists() else None


class IkLlamaCpp(LlamaCpp):
    """One model and one context of ik_llama.cpp; `backend` is ignored, a build has one."""

    batch_type = Batch

    def _load_library(self, backend: str) -> Functions:
        folder = libraries()
        if folder is None:
            raise RuntimeError("ik_llama.cpp: KVTAPE_BENCH_IK_LLAMA names no folder with libllama.so")
        names = ("libggml.so", "libllama.so")
        handles = [ctypes.CDLL(str(folder / name), mode=ctypes.RTLD_GLOBAL) for name in names]
        own: Signatures = {
            "llama_free_model": (None, [c_void_p]),
            "llama_kv_cache_clear": (None, [c_void_p]),
            "llama_kv_cache_seq_rm": (c_bool, [c_void_p, c_int32, c_int32, c_int32]),
            "llama_kv_cache_seq_cp": (None, [c_void_p, c_int32, c_int32, c_int32, c_int32]),
        }
        return bind(handles, signatures(ModelParams, ContextParams, Batch) | own)

    def _context_params(self, n_sequences: int, shared: bool) -> ctypes.Structure:
        params = self._lib["llama_context_default_params"]()
        params.flash_attn = True
        return params

    def clear(self) -> None:
        """Forget every token of the context."""
        self._lib["llama_kv_cache_clear"](self._context)

    def truncate(self, n_tokens: int, sequence: int = 0) -> None:
        """Keep the first `n_tokens` tokens of a sequence."""
        self._lib["llama_kv_cache_seq_rm"](self._context, sequence, n_tokens, -1)

    def fork(self, sequence: int) -> None:
        """Let `sequence` begin with what sequence 0 holds."""
        self._lib["llama_kv_cache_seq_cp"](self._context, 0, sequence, -1, -1)

    def describe(self) -> dict[str, str]:
        """Return the commit and the instruction sets it was built for."""
        return {"version": COMMIT, "system_info": self._lib["llama_print_system_info"]().decode().strip()}

    def close(self) -> None:
        """Free the context and the model."""
        self._lib["llama_free"](self._context)
        self._lib["llama_free_model"](self._model)
