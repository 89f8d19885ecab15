"""A plain numpy forward pass of the llama architecture over dequantised GGUF weights.

float64 is the truth, float32 the yardstick for plain code of that precision. All positions at once, no cache.
"""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
from numpy.typing import DTypeLike, NDArray

__all__ = ["LlamaReference"]

Array = NDArray[np.floating]
QUERY_CHUNK = 512  # queries attended together; bounds the scores to n_heads x 512 x n_tokens


class LlamaReference:
    """The model of a GGUF file, its weights dequantised to `dtype` when it is opened."""

    def __init__(self, path: Path, dtype: DTypeLike = np.float64) -> None:
        reader = gguf.GGUFReader(path)

        def key(name: str, default: float | None = None) -> float:
            field = reader.get_field(f"llama.{name}")
            if field is None and default is None:
                raise KeyError(f"{path}: no key llama.{name}")
            return default if field is None else field.contents()

        self.dtype = np.dtype(dtype)
        self.n_layers = int(key("block_count"))
        self.n_heads = int(key("attention.head_count"))
        self.n_kv_heads = int(key("attention.head_count_kv", self.n_heads))
        self.head_dim = int(key("attention.key_length", key("embedding_length") // self.n_heads))
        self.rms_eps = key("attention.layer_norm_rms_epsilon")
        self.rope_freq_base = key("rope.freq_base", 10000.0)
        self.weights = {
            tensor.name.removesuffix(".weight"): gguf.dequantize(tensor.data, tensor.tensor_type).astype(self.dtype)
            for tensor in reader.tensors
        }
        self.output = self.weights.get("output", self.weights["token_embd"])  # tied when there is no tensor of its own

    def forward(self, ids: NDArray[np.integer]) -> Array:
        """Return the logits after each of `ids`: [n_tokens, vocab_size]."""
        return self._norm(self.hidden(ids), "output_norm") @ self.output.T

    def hidden(self, ids: NDArray[np.integer]) -> Array:
        """Return the residual stream after the last layer: [n_tokens, dim]."""
        x = self.weights["token_embd"][ids]
        cos, sin = self._rope_tables(len(ids))
        for i in range(self.n_layers):
            x = x + self._attention(self._norm(x, f"blk.{i}.attn_norm"), f"blk.{i}.attn_", cos, sin)
            h = self._norm(x, f"blk.{i}.ffn_norm")
            gate = h @ self.weights[f"blk.{i}.ffn_gate"].T
            up = h @ self.weights[f"blk.{i}.ffn_up"].T
            x = x + (gate / (1 + np.exp(-gate)) * up) @ self.weights[f"blk.{i}.ffn_down"].T
        return x

    def _norm(self, x: Array, name: str) -> Array:
        mean_square = np.mean(x * x, axis=-1, keepdims=True, dtype=self.dtype)
        return x / np.sqrt(mean_square + self.dtype.type(self.rms_eps)) * self.weights[name]

    def _rope_tables(self, n_tokens: int) -> tuple[Array, Array]:
        # cos, sin: [n_tokens, 1, head_dim / 2], made in float64 whatever the dtype
        frequencies = self.rope_freq_base ** (-np.arange(0, self.head_dim, 2) / self.head_dim)
        angles = np.arange(n_tokens)[:, None, None] * frequencies
        return np.cos(angles).astype(self.dtype), np.sin(angles).astype(self.dtype)

    def _rope(self, x: Array, cos: Array, sin: Array) -> Array:
        # x: [n_tokens, n_heads, head_dim]; GGUF llama files pair neighbours (2i, 2i + 1)
        even, odd = x[..., 0::2], x[..., 1::2]
        return np.stack([even * cos - odd * sin, even * sin + odd * cos], axis=-1).reshape(x.shape)

    def _attention(self, x: Array, prefix: str, cos: Array, sin: Array) -> Array:
        n_tokens = len(x)
        q = self._rope((x @ self.weights[f"{prefix}q"].T).reshape(n_tokens, self.n_heads, -1), cos, sin)
        k = self._rope((x @ self.weights[f"{prefix}k"].T).reshape(n_tokens, self.n_kv_heads, -1), cos, sin)
        v = (x @ self.weights[f"{prefix}v"].T).reshape(n_tokens, self.n_kv_heads, -1)
        group = self.n_heads // self.n_kv_heads  # heads h and h' share a kv head when h // group == h' // group
        q = q.transpose(1, 0, 2).reshape(self.n_kv_heads, group, n_tokens, self.head_dim)
        k, v = k.transpose(1, 2, 0)[:, None], v.transpose(1, 0, 2)[:, None]
        out = np.empty_like(q)
        for begin in range(0, n_tokens, QUERY_CHUNK):
            end = min(begin + QUERY_CHUNK, n_tokens)
            scores = q[:, :, begin:end] @ k[..., :end] / self.dtype.type(np.sqrt(self.head_dim))
            scores = np.where(np.arange(end) <= np.arange(begin, end)[:, None], scores, -np.inf)
            probs = np.exp(scores - scores.max(axis=-1, keepdims=True))
            out[:, :, begin:end] = probs / probs.sum(axis=-1, keepdims=True) @ v[..., :end, :]
        joined = out.reshape(self.n_heads, n_tokens, self.head_dim).transpose(1, 0, 2).reshape(n_tokens, -1)
        return joined @ self.weights[f"{prefix}output"].T
