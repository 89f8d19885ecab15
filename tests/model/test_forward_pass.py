"""Forward passes: against float64 and transformers, and bit for bit against themselves however the work is cut."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kvtape.model.load import Model, load
from tests.golden.tiny_models import TINY_MODELS
from tests.golden.tiny_models import ids as recorded_ids
from tests.reference.tiny_model import WEIGHT_TYPES, WIDE, shape_for, write_tiny_model
from tests.reference.transformer import TransformerReference

N_TOKENS = 300  # past two partitions of attention
ARCHITECTURES = ["llama", "qwen2", "qwen3", "gemma3"]

SHAPES = {
    "default": {},
    "untied": {"tied": False, "embedding": "q8_0", "weights": "q4_1"},
    "wide heads": {"head_dim": 32, "n_heads": 5, "n_kv_heads": 5, "n_layers": 1},
    "one kv head": {"head_dim": 64, "n_heads": 3, "n_kv_heads": 1},
    "odd blocks": {"dim": 160, "ffn_dim": 224, "n_heads": 2, "n_kv_heads": 2, "weights": "q4_0", "rope_freq_base": 1e5},
    "five bits": {"weights": "q5_0", "value_weights": "q5_1", "embedding": "q8_0", "n_layers": 1},
    "a Q4_K_M file": {"weights": "q4_k", "value_weights": "q6_k", "embedding": "q6_k", **WIDE},
    "a Q5_K file": {"weights": "q5_k", **WIDE, "n_layers": 1},
    "qwen2": {"architecture": "qwen2", "weights": "q4_1"},
    "qwen3": {"architecture": "qwen3", "head_dim": 32, "n_heads": 4, "n_kv_heads": 2, "tied": False},
    "gemma3": {"architecture": "gemma3", "n_layers": 4, "window_period": 3},
    "window of a partition": {"architecture": "gemma3", "window": 128, "weights": "q4_0"},
    "window over two": {"architecture": "gemma3", "window": 129, "head_dim": 64, "n_heads": 3, "n_kv_heads": 1},
    "window of one": {"architecture": "gemma3", "window": 1, "logit_softcap": 4.0, "weights": "f16"},
}


@pytest.fixture(scope="module")
def ids() -> np.ndarray:
    return np.random.default_rng(0).integers(3, 250, N_TOKENS).astype(np.int32)


@pytest.mark.parametrize("weights", ["f32", "f16", "bf16"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_float_weights_match_float64(
    make_tiny_model: Callable[..., Path], ids: np.ndarray, architecture: str, weights: str
) -> None:
    path = make_tiny_model(architecture=architecture, weights=weights)
    exact = TransformerReference(path).forward(ids)
    # Keys and values are rounded to f16, a relative 2^-11: logits with a deviation of 3 move by a few thousandths.
    np.testing.assert_allclose(load(path).forward_logits(ids), exact, atol=0.03)


@pytest.mark.parametrize("name", TINY_MODELS)
def test_equals_transformers(tmp_path: Path, name: str) -> None:
    recorded = np.load(Path(__file__).parents[1] / "golden" / "tiny_transformers.npz")[name]
    model = load(write_tiny_model(tmp_path / "tiny.gguf", TINY_MODELS[name]))
    np.testing.assert_allclose(model.forward_logits(recorded_ids()), recorded, atol=0.03)  # f16 keys and values, too


@pytest.mark.parametrize("window", [1, 31, 32, 33, 127, 128, 129, 300])
def test_a_window_ends_at_each_seam(make_tiny_model: Callable[..., Path], ids: np.ndarray, window: int) -> None:
    path = make_tiny_model(architecture="gemma3", weights="f32", window=window)
    np.testing.assert_allclose(load(path).forward_logits(ids), TransformerReference(path).forward(ids), atol=0.03)


class Int8Product:
    """A weight matrix whose products see their left side as the kernels do: int8 by blocks of 32 columns."""

    __array_ufunc__ = None  # `x @ self` asks us, not numpy

    def __init__(self, weights: np.ndarray) -> None:
        self.weights = weights

    @property
    def T(self) -> Int8Product:
        return self

    def __getitem__(self, ids: np.ndarray) -> np.ndarray:
        return self.weights[ids]

    def __rmatmul__(self, x: np.ndarray) -> np.ndarray:
        blocks = x.reshape(*x.shape[:-1], -1, 32)
        step = np.abs(blocks).max(-1, keepdims=True) / 127
        return (np.rint(blocks / step) * step).reshape(x.shape) @ self.weights.T


@pytest.mark.parametrize("weights", [name for name in WEIGHT_TYPES if name.startswith("q")])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_quantised_weights_err_as_int8_must(
    make_tiny_model: Callable[..., Path], ids: np.ndarray, architecture: str, weights: str
) -> None:
    path = make_tiny_model(architecture=architecture, weights=weights, **shape_for(weights))
    reference = TransformerReference(path)
    exact = reference.forward(ids)
    matrices = {name: Int8Product(w) if w.ndim == 2 else w for name, w in reference.weights.items()}
    reference.weights, reference.output = matrices, matrices["token_embd"]
    int8 = reference.forward(ids)  # exact but for the rounding of activations that the contract asks for
    found = load(path).forward_logits(ids)
    assert np.sqrt(np.mean((found - exact) ** 2)) < 1.2 * np.sqrt(np.mean((int8 - exact) ** 2))
    best = np.sort(exact, axis=-1)
    clear = best[:, -1] - best[:, -2] > 0.5
    assert clear.sum() > N_TOKENS / 3
    np.testing.assert_array_equal(found.argmax(-1)[clear], exact.argmax(-1)[clear])


@pytest.mark.parametrize("shape", SHAPES)
def test_bits_do_not_depend_on_how_the_work_is_cut(
    make_tiny_model: Callable[..., Path], ids: np.ndarray, isa: str, shape: str
) -> None:
    model = load(make_tiny_model(**SHAPES[shape]))
    whole = model.forward_logits(ids, chunk=N_TOKENS, isa="ref").tobytes()
    for chunk, n_threads in [(N_TOKENS, 1), (N_TOKENS, 2), (1, 1), (31, 2), (128, 1)]:
        assert model.forward_logits(ids, chunk=chunk, isa=isa, n_threads=n_threads).tobytes() == whole, (
            chunk,
            n_threads,
        )


class Q8KvReference(TransformerReference):
    """Keys and values rounded as a q8_0 cache rounds them: int8 and an f16 scale for 32 elements of a head."""

    def _cached(self, x: np.ndarray) -> np.ndarray:
        blocks = x.reshape(*x.shape[:-1], -1, min(32, x.shape[-1]))
        amax = np.abs(blocks).max(axis=-1, keepdims=True)
        return (np.rint(blocks * (127 / amax)) * (amax / 127).astype(np.float16)).reshape(x.shape)


def test_q8_0_kv_errs_as_its_rounding_must_and_depends_on_no_cut_either(
    make_tiny_model: Callable[..., Path], ids: np.ndarray, isa: str
) -> None:
    path = make_tiny_model(weights="f32", embedding="f32")
    model = load(path)
    whole = model.forward_logits(ids, chunk=N_TOKENS, kv_type="q8_0", isa="ref")
    for chunk, n_threads in [(N_TOKENS, 2), (1, 1), (31, 2)]:
        found = model.forward_logits(ids, chunk=chunk, kv_type="q8_0", isa=isa, n_threads=n_threads)
        assert found.tobytes() == whole.tobytes(), (chunk, n_threads)
    rounded = Q8KvReference(path).forward(ids)
    effect = np.abs(rounded - TransformerReference(path).forward(ids)).mean()
    assert np.abs(whole - rounded).mean() < effect / 20  # a key on the edge of two int8 falls either way


@pytest.mark.parametrize("weights", WEIGHT_TYPES)
def test_later_tokens_change_nothing_before_them(
    make_tiny_model: Callable[..., Path], ids: np.ndarray, weights: str
) -> None:
    model: Model = load(make_tiny_model(weights=weights, **shape_for(weights)))
    assert model.forward_logits(ids[:77]).tobytes() == model.forward_logits(ids)[:77].tobytes()
