"""Tiny random models as GGUF files: small enough for every test, complete down to tokenizer and chat template.

The weights come from `TinySpec.seed` alone, so the same spec gives the same file. They are scaled so that logits spread
like those of a trained model (standard deviation about 3) and every layer matters.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np

from tests.reference import k_quants
from tests.reference.tiny_vocab import (
    CHAT_TEMPLATE,
    GEMMA_CHAT_TEMPLATE,
    GEMMA_TOKENS,
    MERGES,
    SPECIAL_TOKENS,
    TOKENS,
    gemma_scores,
    gemma_types,
)

__all__ = ["WEIGHT_TYPES", "WIDE", "TinySpec", "shape_for", "write_tiny_model"]

WEIGHT_TYPES = {
    name.lower(): gguf.GGMLQuantizationType[name]
    for name in ("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", *k_quants.NAMES)
}
WIDE = {"dim": 256, "ffn_dim": 512, "n_heads": 8, "n_kv_heads": 4, "head_dim": 32}  # whole blocks of 256


def shape_for(weights: str) -> dict[str, int]:
    """Return the fields of a TinySpec whose matrices can be of that type: none, or those of WIDE."""
    return WIDE if weights.upper() in k_quants.NAMES else {}


@dataclass(frozen=True, slots=True, kw_only=True)
class TinySpec:
    """Shape of a tiny model. `n_heads * head_dim`, `dim` and `ffn_dim` are whole blocks: of 32, or 256 for K."""

    architecture: str = "llama"  # or qwen2, qwen3, gemma3
    n_layers: int = 2
    dim: int = 96
    ffn_dim: int = 160
    n_heads: int = 6
    n_kv_heads: int = 3
    head_dim: int = 16
    n_ctx: int = 512
    weights: str = "q8_0"  # a key of WEIGHT_TYPES; norms are always f32
    value_weights: str | None = None  # type of attn_v and ffn_down, which Q4_K_M files keep finer; None: like the rest
    embedding: str | None = None  # type of the embedding and of an untied head; None: like the weights
    tied: bool = True  # whether the embedding is the output head too
    rope_freq_base: float = 10000.0
    rms_eps: float = 1e-5
    window: int = 40  # gemma3's sliding window; `window_period` of its layers, the last of each, have none
    window_period: int = 2
    logit_softcap: float = 0.0  # gemma3
    chat_template: str | None = None  # None: that of the vocabulary
    seed: int = 0

    def __post_init__(self) -> None:
        if self.n_heads % self.n_kv_heads:
            raise ValueError(f"{self.n_heads} heads do not share {self.n_kv_heads} kv heads evenly")
        types = {self.weights, self.value_weights or self.weights, self.embedding or self.weights}
        block_len = 256 if any(shape_for(name) for name in types) else 32
        for name, size in {"dim": self.dim, "ffn_dim": self.ffn_dim, "q_dim": self.n_heads * self.head_dim}.items():
            if size % block_len:
                raise ValueError(f"{name} is {size}, wanted a multiple of {block_len}")


def write_tiny_model(path: Path, spec: TinySpec | None = None) -> Path:
    """Write the model of `spec` to `path` and return `path`."""
    spec = spec or TinySpec()
    writer = gguf.GGUFWriter(path, spec.architecture)
    _add_config(writer, spec)
    if spec.architecture == "gemma3":
        _add_sentencepiece(writer)
    else:
        _add_bpe(writer, "smollm" if spec.architecture == "llama" else "qwen2")
    writer.add_chat_template(
        spec.chat_template or (GEMMA_CHAT_TEMPLATE if spec.architecture == "gemma3" else CHAT_TEMPLATE)
    )
    for name, values, kind in _tensors(spec):
        if kind in (gguf.GGMLQuantizationType.F32, gguf.GGMLQuantizationType.F16):
            writer.add_tensor(name, values.astype(np.float16 if kind == gguf.GGMLQuantizationType.F16 else np.float32))
        else:
            by_us = kind.name in k_quants.NAMES  # the gguf package reads these and does not write them
            blocks = k_quants.quantize(values, kind.name) if by_us else gguf.quants.quantize(values, kind)
            writer.add_tensor(name, blocks, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add_config(writer: gguf.GGUFWriter, spec: TinySpec) -> None:
    writer.add_name(f"tiny-{spec.weights}")
    writer.add_block_count(spec.n_layers)
    writer.add_context_length(spec.n_ctx)
    writer.add_embedding_length(spec.dim)
    writer.add_feed_forward_length(spec.ffn_dim)
    writer.add_head_count(spec.n_heads)
    writer.add_head_count_kv(spec.n_kv_heads)
    if spec.n_heads * spec.head_dim != spec.dim:
        writer.add_key_length(spec.head_dim)
        writer.add_value_length(spec.head_dim)
    if spec.architecture == "llama":
        writer.add_rope_dimension_count(spec.head_dim)
    if spec.architecture == "gemma3":
        writer.add_sliding_window(spec.window)
        writer.add_sliding_window_pattern(spec.window_period)
        if spec.logit_softcap:
            writer.add_final_logit_softcapping(spec.logit_softcap)
    writer.add_rope_freq_base(spec.rope_freq_base)
    writer.add_layer_norm_rms_eps(spec.rms_eps)
    writer.add_vocab_size(len(_tokens(spec)))
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)


def _tokens(spec: TinySpec) -> tuple[str, ...]:
    return GEMMA_TOKENS if spec.architecture == "gemma3" else TOKENS


def _add_sentencepiece(writer: gguf.GGUFWriter) -> None:
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(list(GEMMA_TOKENS))
    writer.add_token_scores(gemma_scores())
    writer.add_token_types(gemma_types())
    for name in ("pad", "eos", "bos", "unk"):
        getattr(writer, f"add_{name}_token_id")(GEMMA_TOKENS.index(f"<{name}>"))
    writer.add_add_bos_token(True)
    writer.add_add_space_prefix(False)


def _add_bpe(writer: gguf.GGUFWriter, pre: str) -> None:
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(list(TOKENS))
    writer.add_token_types(
        [gguf.TokenType.CONTROL if token in SPECIAL_TOKENS else gguf.TokenType.NORMAL for token in TOKENS]
    )
    writer.add_token_merges(list(MERGES))
    writer.add_bos_token_id(TOKENS.index("<|im_start|>"))
    writer.add_eos_token_id(TOKENS.index("<|im_end|>"))
    writer.add_unk_token_id(TOKENS.index("<|endoftext|>"))
    writer.add_pad_token_id(TOKENS.index("<|im_end|>"))
    writer.add_add_bos_token(False)
    writer.add_add_space_prefix(False)


def _tensors(spec: TinySpec) -> list[tuple[str, np.ndarray, gguf.GGMLQuantizationType]]:
    rng = np.random.default_rng(spec.seed)
    weight_type = WEIGHT_TYPES[spec.weights]
    value_type = WEIGHT_TYPES[spec.value_weights or spec.weights]
    embedding_type = WEIGHT_TYPES[spec.embedding or spec.weights]
    q_dim, kv_dim = spec.n_heads * spec.head_dim, spec.n_kv_heads * spec.head_dim
    tensors = []

    def matrix(name: str, n_rows: int, n_cols: int, gain: float, kind: gguf.GGMLQuantizationType = weight_type) -> None:
        values = rng.standard_normal((n_rows, n_cols), dtype=np.float32) * np.float32(gain / n_cols**0.5)
        tensors.append((f"{name}.weight", values, kind))

    def vector(name: str, n: int, around: float = 1.0, spread: float = 0.1) -> None:
        values = np.float32(around) + rng.standard_normal(n, dtype=np.float32) * np.float32(spread)
        tensors.append((name, values, gguf.GGMLQuantizationType.F32))

    def norm(name: str, n: int = spec.dim, around: float = 1.0) -> None:
        vector(f"{name}.weight", n, around)

    is_gemma = spec.architecture == "gemma3"
    # Gemma multiplies embeddings by sqrt(dim): they are small and its norms large, or no layer would count.
    matrix("token_embd", len(_tokens(spec)), spec.dim, 1.0 if is_gemma else 3.0, embedding_type)
    for i in range(spec.n_layers):
        norm(f"blk.{i}.attn_norm")
        if spec.architecture == "qwen2":
            for head, n in (("q", q_dim), ("k", kv_dim), ("v", kv_dim)):
                vector(f"blk.{i}.attn_{head}.bias", n, around=0.0, spread=0.5)
        if spec.architecture == "qwen3" or is_gemma:
            norm(f"blk.{i}.attn_q_norm", spec.head_dim)
            norm(f"blk.{i}.attn_k_norm", spec.head_dim)
        if is_gemma:
            norm(f"blk.{i}.post_attention_norm", around=2.0)
            norm(f"blk.{i}.post_ffw_norm", around=2.0)
        matrix(f"blk.{i}.attn_q", q_dim, spec.dim, 1.5)
        matrix(f"blk.{i}.attn_k", kv_dim, spec.dim, 1.5)
        matrix(f"blk.{i}.attn_v", kv_dim, spec.dim, 1.5, value_type)
        matrix(f"blk.{i}.attn_output", spec.dim, q_dim, 1.5)
        norm(f"blk.{i}.ffn_norm")
        matrix(f"blk.{i}.ffn_gate", spec.ffn_dim, spec.dim, 1.5)
        matrix(f"blk.{i}.ffn_up", spec.ffn_dim, spec.dim, 1.5)
        matrix(f"blk.{i}.ffn_down", spec.dim, spec.ffn_dim, 1.0, value_type)
    norm("output_norm", around=3.0 if is_gemma else 1.0)
    if not spec.tied:
        matrix("output", len(_tokens(spec)), spec.dim, 3.0, embedding_type)
    return tensors
