"""The numpy forward pass is itself held to the logits of llama.cpp and transformers, and to properties."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.golden.tiny_models import TINY_MODELS, ids
from tests.reference.tiny_model import WEIGHT_TYPES, shape_for, write_tiny_model
from tests.reference.transformer import TransformerReference

KV_TOLERANCE = 0.05  # llama.cpp kept keys and values in f16; the logits reach 12


def test_equals_llama_cpp(make_tiny_model: Callable[..., Path]) -> None:
    path = make_tiny_model(
        weights="f32", tied=False, head_dim=32, n_heads=6, n_kv_heads=2, n_layers=3, rope_freq_base=50000.0
    )
    record = np.load(Path(__file__).parents[1] / "golden" / "tiny_llama_cpp.npz")
    logits = TransformerReference(path).forward(record["ids"])
    np.testing.assert_allclose(logits, record["logits"], atol=KV_TOLERANCE)
    np.testing.assert_array_equal(logits.argmax(-1), record["logits"].argmax(-1))


@pytest.mark.parametrize("name", TINY_MODELS)
def test_equals_transformers(tmp_path: Path, name: str) -> None:
    recorded = np.load(Path(__file__).parents[1] / "golden" / "tiny_transformers.npz")[name]
    found = TransformerReference(write_tiny_model(tmp_path / "tiny.gguf", TINY_MODELS[name])).forward(ids())
    np.testing.assert_allclose(found, recorded, atol=2e-4)  # theirs is float32; logits reach 14


@pytest.mark.parametrize("weights", WEIGHT_TYPES)
def test_float32_is_near_float64(make_tiny_model: Callable[..., Path], weights: str) -> None:
    path, some = make_tiny_model(weights=weights, **shape_for(weights)), np.arange(3, 67)
    exact = TransformerReference(path, np.float64).forward(some)
    found = TransformerReference(path, np.float32).forward(some)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, exact, atol=2e-4)


def test_is_causal_whatever_the_query_chunk(
    make_tiny_model: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_tiny_model(architecture="gemma3", window=20)
    reference, some = TransformerReference(path), np.arange(3, 103)
    whole = reference.forward(some)
    monkeypatch.setattr("tests.reference.transformer.QUERY_CHUNK", 7)
    np.testing.assert_allclose(reference.forward(some[:50]), whole[:50], atol=1e-12)
