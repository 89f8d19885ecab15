"""Tiny models are deterministic, what their spec says, and have a sound vocabulary."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest

from tests.reference.tiny_model import WEIGHT_TYPES, TinySpec, shape_for, write_tiny_model
from tests.reference.tiny_vocab import MERGES, SPECIAL_TOKENS, TOKENS, byte_alphabet


def test_same_spec_gives_the_same_file_and_another_seed_another(tmp_path: Path) -> None:
    first, again, other = (
        write_tiny_model(tmp_path / f"{i}.gguf", TinySpec(seed=seed)).read_bytes() for i, seed in enumerate((0, 0, 1))
    )
    assert first == again
    assert first != other


@pytest.mark.parametrize("weights", WEIGHT_TYPES)
@pytest.mark.parametrize("tied", [True, False])
def test_holds_the_tensors_of_its_spec(make_tiny_model: Callable[..., Path], weights: str, tied: bool) -> None:
    dim, n_heads = (256, 24) if shape_for(weights) else (64, 3)
    shape = {"dim": dim, "n_heads": n_heads, "head_dim": 32, "n_kv_heads": 1, "ffn_dim": 256}
    reader = gguf.GGUFReader(make_tiny_model(weights=weights, tied=tied, **shape))
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    assert ("output.weight" in tensors) is not tied
    assert tensors["blk.1.attn_q.weight"].tensor_type == WEIGHT_TYPES[weights]
    assert tensors["blk.1.attn_q.weight"].shape.tolist() == [dim, 32 * n_heads]
    assert tensors["blk.1.attn_k.weight"].shape.tolist() == [dim, 32]
    assert tensors["output_norm.weight"].tensor_type == gguf.GGMLQuantizationType.F32
    assert reader.get_field("llama.attention.key_length").contents() == 32


@pytest.mark.parametrize(
    "fields", [{"n_heads": 4, "n_kv_heads": 3}, {"dim": 80}, {"n_heads": 1, "n_kv_heads": 1}, {"embedding": "q6_k"}]
)
def test_refuses_shapes_that_do_not_fit(fields: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"wanted a multiple of (32|256)|share"):
        TinySpec(**fields)


def test_vocabulary_is_whole_and_each_merge_joins_known_pieces() -> None:
    assert len(set(TOKENS)) == len(TOKENS)
    assert sorted(byte_alphabet()) == list(range(256))
    known = set(byte_alphabet().values())
    for merge in MERGES:
        left, right = merge.split(" ")
        assert {left, right} <= known
        known.add(left + right)
    assert known | set(SPECIAL_TOKENS) == set(TOKENS)


def test_logits_spread_like_a_trained_models(make_tiny_model: Callable[..., Path]) -> None:
    from tests.reference.transformer import TransformerReference

    for tied in (True, False):
        logits = TransformerReference(make_tiny_model(tied=tied)).forward(np.arange(3, 131))
        assert 2 < logits.std() < 4
        assert len(set(logits.argmax(-1))) > 30  # no token wins everywhere
