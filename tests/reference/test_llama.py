"""The numpy forward pass is itself held to llama.cpp's logits and to properties of the architecture."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.reference.llama import LlamaReference
from tests.reference.tiny_model import WEIGHT_TYPES

KV_TOLERANCE = 0.05  # llama.cpp kept keys and values in f16; the logits reach 12


def test_equals_llama_cpp(make_tiny_model: Callable[..., Path]) -> None:
    path = make_tiny_model(
        weights="f32", tied=False, head_dim=32, n_heads=6, n_kv_heads=2, n_layers=3, rope_freq_base=50000.0
    )
    record = np.load(Path(__file__).parents[1] / "golden" / "tiny_llama_cpp.npz")
    logits = LlamaReference(path).forward(record["ids"])
    np.testing.assert_allclose(logits, record["logits"], atol=KV_TOLERANCE)
    np.testing.assert_array_equal(logits.argmax(-1), record["logits"].argmax(-1))


@pytest.mark.parametrize("weights", WEIGHT_TYPES)
def test_float32_is_near_float64(make_tiny_model: Callable[..., Path], weights: str) -> None:
    path, ids = make_tiny_model(weights=weights), np.arange(3, 67)
    exact = LlamaReference(path, np.float64).forward(ids)
    found = LlamaReference(path, np.float32).forward(ids)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, exact, atol=2e-4)


def test_is_causal_whatever_the_query_chunk(
    make_tiny_model: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    reference, ids = LlamaReference(make_tiny_model()), np.arange(3, 103)
    whole = reference.forward(ids)
    monkeypatch.setattr("tests.reference.llama.QUERY_CHUNK", 7)
    np.testing.assert_allclose(reference.forward(ids[:50]), whole[:50], atol=1e-12)
