"""Tiny random llama models as GGUF files: small enough for every test, complete down to tokenizer and chat template.

The weights come from `TinySpec.seed` alone, so the same spec gives the same file. They are scaled so that logits spread
like those of a trained model (standard deviation about 3) and every layer matters.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np

from tests.reference.tiny_vocab import CHAT_TEMPLATE, MERGES, SPECIAL_TOKENS, TOKENS

__all__ = ["WEIGHT_TYPES", "TinySpec", "write_tiny_model"]

WEIGHT_TYPES = {
    name.lower(): gguf.GGMLQuantizationType[name] for name in ("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1")
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TinySpec:
    """Shape of a tiny model. `n_heads * head_dim`, `dim` and `ffn_dim` are multiples of 32, the quantised block."""

    n_layers: int = 2
    dim: int = 96
    ffn_dim: int = 160
    n_heads: int = 6
    n_kv_heads: int = 3
    head_dim: int = 16
    n_ctx: int = 512
    weights: str = "q8_0"  # a key of WEIGHT_TYPES; norms are always f32
    embedding: str | None = None  # type of the embedding and of an untied head; None: like the weights
    tied: bool = True  # whether the embedding is the output head too
    rope_freq_base: float = 10000.0
    rms_eps: float = 1e-5
    seed: int = 0

    def __post_init__(self) -> None:
        if self.n_heads % self.n_kv_heads:
            raise ValueError(f"{self.n_heads} heads do not share {self.n_kv_heads} kv heads evenly")
        for name, size in {"dim": self.dim, "ffn_dim": self.ffn_dim, "q_dim": self.n_heads * self.head_dim}.items():
            if size % 32:
                raise ValueError(f"{name} is {size}, wanted a multiple of 32")


def write_tiny_model(path: Path, spec: TinySpec | None = None) -> Path:
    """Write the model of `spec` to `path` and return `path`."""
    spec = spec or TinySpec()
    writer = gguf.GGUFWriter(path, "llama")
    _add_config(writer, spec)
    _add_tokenizer(writer)
    for name, values, kind in _tensors(spec):
        if kind in (gguf.GGMLQuantizationType.F32, gguf.GGMLQuantizationType.F16):
            writer.add_tensor(name, values.astype(np.float16 if kind == gguf.GGMLQuantizationType.F16 else np.float32))
        else:
            writer.add_tensor(name, gguf.quants.quantize(values, kind), raw_dtype=kind)
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
    writer.add_rope_dimension_count(spec.head_dim)
    writer.add_rope_freq_base(spec.rope_freq_base)
    writer.add_layer_norm_rms_eps(spec.rms_eps)
    writer.add_vocab_size(len(TOKENS))
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)


def _add_tokenizer(writer: gguf.GGUFWriter) -> None:
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
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
    writer.add_chat_template(CHAT_TEMPLATE)


def _tensors(spec: TinySpec) -> list[tuple[str, np.ndarray, gguf.GGMLQuantizationType]]:
    rng = np.random.default_rng(spec.seed)
    weight_type = WEIGHT_TYPES[spec.weights]
    embedding_type = WEIGHT_TYPES[spec.embedding or spec.weights]
    q_dim, kv_dim = spec.n_heads * spec.head_dim, spec.n_kv_heads * spec.head_dim
    tensors = []

    def matrix(name: str, n_rows: int, n_cols: int, gain: float, kind: gguf.GGMLQuantizationType = weight_type) -> None:
        values = rng.standard_normal((n_rows, n_cols), dtype=np.float32) * np.float32(gain / n_cols**0.5)
        tensors.append((f"{name}.weight", values, kind))

    def norm(name: str) -> None:
        values = np.float32(1) + rng.standard_normal(spec.dim, dtype=np.float32) * np.float32(0.1)
        tensors.append((f"{name}.weight", values, gguf.GGMLQuantizationType.F32))

    matrix("token_embd", len(TOKENS), spec.dim, 3.0, embedding_type)
    for i in range(spec.n_layers):
        norm(f"blk.{i}.attn_norm")
        matrix(f"blk.{i}.attn_q", q_dim, spec.dim, 1.5)
        matrix(f"blk.{i}.attn_k", kv_dim, spec.dim, 1.5)
        matrix(f"blk.{i}.attn_v", kv_dim, spec.dim, 1.5)
        matrix(f"blk.{i}.attn_output", spec.dim, q_dim, 1.5)
        norm(f"blk.{i}.ffn_norm")
        matrix(f"blk.{i}.ffn_gate", spec.ffn_dim, spec.dim, 1.5)
        matrix(f"blk.{i}.ffn_up", spec.ffn_dim, spec.dim, 1.5)
        matrix(f"blk.{i}.ffn_down", spec.dim, spec.ffn_dim, 1.0)
    norm("output_norm")
    if not spec.tied:
        matrix("output", len(TOKENS), spec.dim, 3.0, embedding_type)
    return tensors
