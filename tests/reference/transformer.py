"""A plain numpy forward pass of the architectures kvtape runs, over dequantised GGUF weights.

float64 is the truth, float32 the yardstick for plain code of that precision. All positions at once, no cache. What an
architecture has of biases and norms is what its file holds; the rest is in `__init__`.
"""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
from numpy.typing import DTypeLike, NDArray

from tests.reference.activation import gelu_mul, silu_mul, softcap

__all__ = ["TransformerReference"]

Array = NDArray[np.floating]
QUERY_CHUNK = 512  # queries attended together; bounds the scores to n_heads x 512 x n_tokens


class TransformerReference:
    """The model of a GGUF file, its weights dequantised to `dtype` when it is opened."""

    def __init__(self, path: Path, dtype: DTypeLike = np.float64) -> None:
        reader = gguf.GGUFReader(path)
        architecture = reader.get_field("general.architecture").contents()
        if architecture not in ("llama", "qwen2", "qwen3", "gemma3"):
            raise ValueError(f"{path}: architecture {architecture}")

        def key(name: str, default: float | None = None) -> float:
            field = reader.get_field(f"{architecture}.{name}")
            if field is None and default is None:
                raise KeyError(f"{path}: no key {architecture}.{name}")
            return default if field is None else field.contents()

        self.dtype = np.dtype(dtype)
        self.n_layers = int(key("block_count"))
        self.n_heads = int(key("attention.head_count"))
        self.n_kv_heads = int(key("attention.head_count_kv", self.n_heads))
        self.head_dim = int(key("attention.key_length", key("embedding_length") // self.n_heads))
        self.rms_eps = key("attention.layer_norm_rms_epsilon")
        self.rope_freq_base = key("rope.freq_base", 10000.0)
        self.pairs_neighbours = architecture == "llama"  # rope turns (2i, 2i + 1), else (i, i + head_dim / 2)
        is_gemma = architecture == "gemma3"
        self.embedding_scale = key("embedding_length") ** 0.5 if is_gemma else 1.0
        self.gated = gelu_mul if is_gemma else silu_mul
        self.logit_softcap = key("final_logit_softcapping", 0.0)
        self.window = int(key("attention.sliding_window", 0)) if is_gemma else 0
        self.window_period = int(key("attention.sliding_window_pattern", 6))  # each such layer sees everything
        self.window_rope_freq_base = key("rope.freq_base_swa", 10000.0)
        self.weights = {
            tensor.name.removesuffix(".weight"): gguf.dequantize(tensor.data, tensor.tensor_type).astype(self.dtype)
            for tensor in reader.tensors
        }
        self.output = self.weights.get("output", self.weights["token_embd"])  # tied when there is no tensor of its own

    def forward(self, ids: NDArray[np.integer], sees: NDArray[np.bool_] | None = None) -> Array:
        """Return the logits after each of `ids`: [n_tokens, vocab_size].

        sees: [n_tokens, n_tokens], which tokens before it each one sees; None: all.
        """
        logits = self._norm(self.hidden(ids, sees), "output_norm") @ self.output.T
        return softcap(logits, self.logit_softcap) if self.logit_softcap else logits

    def hidden(self, ids: NDArray[np.integer], sees: NDArray[np.bool_] | None = None) -> Array:
        """Return the residual stream after the last layer: [n_tokens, dim]."""
        sees = np.ones((len(ids), len(ids)), bool) if sees is None else sees
        x = self.weights["token_embd"][ids] * self.dtype.type(self.embedding_scale)
        for i in range(self.n_layers):
            block = f"blk.{i}."
            windowed = self.window > 0 and (i + 1) % self.window_period != 0
            h = self._attention(self._norm(x, f"{block}attn_norm"), f"{block}attn_", windowed, sees)
            x = x + self._norm_where_any(h, f"{block}post_attention_norm")
            h = self._norm(x, f"{block}ffn_norm")
            gate, up = (h @ self.weights[f"{block}ffn_{name}"].T for name in ("gate", "up"))
            h = self.gated(gate, up) @ self.weights[f"{block}ffn_down"].T
            x = x + self._norm_where_any(h, f"{block}post_ffw_norm")
        return x

    def _norm(self, x: Array, name: str) -> Array:
        mean_square = np.mean(x * x, axis=-1, keepdims=True, dtype=self.dtype)
        return x / np.sqrt(mean_square + self.dtype.type(self.rms_eps)) * self.weights[name]

    def _norm_where_any(self, x: Array, name: str) -> Array:
        return self._norm(x, name) if name in self.weights else x

    def _rope(self, x: Array, freq_base: float) -> Array:
        # x: [n_tokens, n_heads, head_dim]; cos and sin are made in float64 whatever the dtype
        frequencies = freq_base ** (-np.arange(0, self.head_dim, 2) / self.head_dim)
        angles = np.arange(len(x))[:, None, None] * frequencies
        cos, sin = np.cos(angles).astype(self.dtype), np.sin(angles).astype(self.dtype)
        half = self.head_dim // 2
        first = slice(0, None, 2) if self.pairs_neighbours else slice(half)
        second = slice(1, None, 2) if self.pairs_neighbours else slice(half, None)
        turned = np.empty_like(x)
        turned[..., first] = x[..., first] * cos - x[..., second] * sin
        turned[..., second] = x[..., first] * sin + x[..., second] * cos
        return turned

    def _heads(self, x: Array, name: str, n_heads: int) -> Array:
        """Return a projection of x with its bias and norm, where it has them: [n_tokens, n_heads, head_dim]."""
        y = x @ self.weights[name].T + self.weights.get(f"{name}.bias", self.dtype.type(0))
        return self._norm_where_any(y.reshape(len(x), n_heads, self.head_dim), f"{name}_norm")

    def _cached(self, x: Array) -> Array:
        """Return keys or values, [n_tokens, n_kv_heads, head_dim], as the cache keeps them: as they are."""
        return x

    def _attention(self, x: Array, prefix: str, windowed: bool, sees: NDArray[np.bool_]) -> Array:
        n_tokens = len(x)
        freq_base = self.window_rope_freq_base if windowed else self.rope_freq_base
        q = self._rope(self._heads(x, f"{prefix}q", self.n_heads), freq_base)
        k = self._cached(self._rope(self._heads(x, f"{prefix}k", self.n_kv_heads), freq_base))
        v = self._cached(self._heads(x, f"{prefix}v", self.n_kv_heads))
        group = self.n_heads // self.n_kv_heads  # heads h and h' share a kv head when h // group == h' // group
        q = q.transpose(1, 0, 2).reshape(self.n_kv_heads, group, n_tokens, self.head_dim)
        k, v = k.transpose(1, 2, 0)[:, None], v.transpose(1, 0, 2)[:, None]
        out = np.empty_like(q)
        for begin in range(0, n_tokens, QUERY_CHUNK):
            end = min(begin + QUERY_CHUNK, n_tokens)
            scores = q[:, :, begin:end] @ k[..., :end] / self.dtype.type(np.sqrt(self.head_dim))
            distance = np.arange(begin, end)[:, None] - np.arange(end)
            seen = (distance >= 0) & (distance < (self.window if windowed else n_tokens))
            scores = np.where(seen & sees[begin:end, :end], scores, -np.inf)
            probs = np.exp(scores - scores.max(axis=-1, keepdims=True))
            out[:, :, begin:end] = probs / probs.sum(axis=-1, keepdims=True) @ v[..., :end, :]
        joined = out.reshape(self.n_heads, n_tokens, self.head_dim).transpose(1, 0, 2).reshape(n_tokens, -1)
        return joined @ self.weights[f"{prefix}output"].T
