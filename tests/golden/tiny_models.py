"""The tiny models whose logits were recorded with transformers: each architecture, with what it may have or lack."""

from __future__ import annotations

import numpy as np

from tests.reference.tiny_model import TinySpec

__all__ = ["N_TOKENS", "TINY_MODELS", "ids"]

N_TOKENS = 48
_WIDE = {"weights": "f32", "tied": False, "head_dim": 32, "n_heads": 6, "n_kv_heads": 2, "rope_freq_base": 50000.0}

TINY_MODELS = {
    "llama": TinySpec(architecture="llama", **_WIDE),
    "qwen2": TinySpec(architecture="qwen2", weights="f32"),
    "qwen2 untied": TinySpec(architecture="qwen2", **_WIDE),
    "qwen3": TinySpec(architecture="qwen3", weights="f32"),
    "qwen3 untied": TinySpec(architecture="qwen3", **_WIDE),
    "gemma3": TinySpec(architecture="gemma3", weights="f32", n_layers=4, window=13, window_period=3),
    "gemma3 capped": TinySpec(architecture="gemma3", **(_WIDE | {"tied": True}), window=1, logit_softcap=5.0),
}


def ids() -> np.ndarray:
    """Token ids that every one of the vocabularies has: [N_TOKENS] int32."""
    return np.random.default_rng(1).integers(0, 300, N_TOKENS).astype(np.int32)
