"""transformers on torch as a peer: float32 on the CPU, with the weights of a GGUF file, dequantised.

Needs `pip install torch transformers`, which no extra of kvtape brings: torch is larger than everything else together.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
import transformers
from numpy.typing import NDArray

__all__ = ["TransformersF32"]

# GGUF's names inside a layer, and theirs.
LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "post_ffw_norm": "post_feedforward_layernorm",
}
NAMES = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
KINDS: dict[str, tuple[type, type]] = {
    "llama": (transformers.LlamaConfig, transformers.LlamaForCausalLM),
    "qwen2": (transformers.Qwen2Config, transformers.Qwen2ForCausalLM),
    "qwen3": (transformers.Qwen3Config, transformers.Qwen3ForCausalLM),
    "gemma3": (transformers.Gemma3TextConfig, transformers.Gemma3ForCausalLM),
}


class TransformersF32:
    """The model of a GGUF file in transformers."""

    def __init__(self, path: Path, *, n_threads: int = 1) -> None:
        torch.set_num_threads(n_threads)
        reader = gguf.GGUFReader(path)
        self._kind = reader.get_field("general.architecture").contents()
        weights = {tensor.name: gguf.dequantize(tensor.data, tensor.tensor_type) for tensor in reader.tensors}
        config_type, model_type = KINDS[self._kind]
        config = config_type(**_settings(reader, self._kind, weights), attn_implementation="eager")
        self._model = model_type(config).eval()
        state = {name: torch.from_numpy(w) for name, w in self._renamed(weights, config).items()}
        missing, unexpected = self._model.load_state_dict(state, strict=False)
        if unexpected or set(missing) - {"lm_head.weight"}:
            raise ValueError(f"{path}: missing {missing}, unexpected {unexpected}")

    def logits(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """Return the logits after each of `ids`: [n_tokens, vocab_size]."""
        with torch.inference_mode():
            return self._model(input_ids=torch.tensor([list(ids)]), use_cache=False).logits[0].float().numpy()

    @staticmethod
    def versions() -> str:
        """Return what this is, with versions."""
        return f"transformers {transformers.__version__} on torch {torch.__version__}"

    def _renamed(self, weights: dict[str, NDArray[np.float32]], config: Any) -> dict[str, NDArray[np.float32]]:
        renamed = {}
        for name, values in weights.items():
            stem, kind = name.rsplit(".", 1)
            if self._kind == "llama" and stem.endswith(("attn_q", "attn_k")):  # rope on neighbours, there on halves
                n_heads = config.num_attention_heads if stem.endswith("q") else config.num_key_value_heads
                values = values.reshape(n_heads, -1, 2, values.shape[1]).swapaxes(1, 2).reshape(values.shape)
            if self._kind == "gemma3" and stem.endswith("norm"):
                values = values - np.float32(1)  # there a norm's weight is what it has beyond 1
            renamed[f"{self._name(stem)}.{kind}"] = np.array(values)
        return renamed

    def _name(self, stem: str) -> str:
        if stem in NAMES:
            return NAMES[stem]
        _, layer, name = stem.split(".")
        own = "pre_feedforward_layernorm" if self._kind == "gemma3" and name == "ffn_norm" else LAYER_NAMES[name]
        return f"model.layers.{layer}.{own}"


def _settings(reader: gguf.GGUFReader, kind: str, weights: dict[str, NDArray[np.float32]]) -> dict[str, Any]:
    def key(name: str, default: Any = None) -> Any:
        field = reader.get_field(f"{kind}.{name}")
        return default if field is None else field.contents()

    n_heads, dim, n_layers = key("attention.head_count"), key("embedding_length"), key("block_count")
    head_dim = key("attention.key_length", dim // n_heads)
    rope = {"rope_type": "default", "rope_theta": key("rope.freq_base", 10000.0)}
    settings = {
        "vocab_size": len(weights["token_embd.weight"]),
        "hidden_size": dim,
        "intermediate_size": key("feed_forward_length"),
        "num_hidden_layers": n_layers,
        "num_attention_heads": n_heads,
        "num_key_value_heads": key("attention.head_count_kv", n_heads),
        "head_dim": head_dim,
        "rms_norm_eps": key("attention.layer_norm_rms_epsilon"),
        "max_position_embeddings": key("context_length"),
        "rope_parameters": rope,
        "tie_word_embeddings": "output.weight" not in weights,
    }
    if kind == "gemma3":
        period = key("attention.sliding_window_pattern", 6)
        layers = ["sliding_attention" if (i + 1) % period else "full_attention" for i in range(n_layers)]
        settings |= {
            "layer_types": layers,
            "sliding_window": key("attention.sliding_window"),
            "query_pre_attn_scalar": head_dim,
            "final_logit_softcapping": key("final_logit_softcapping"),
            "rope_parameters": {
                "full_attention": rope,
                "sliding_attention": {"rope_type": "default", "rope_theta": key("rope.freq_base_swa", 10000.0)},
            },
        }
    return settings
