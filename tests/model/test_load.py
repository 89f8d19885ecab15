"""Models from files: what they say of themselves, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest

from kvtape.errors import InvalidRequest, ModelError, NotFound
from kvtape.model.load import load, model_name
from tests.reference.tiny_model import TinySpec, write_tiny_model


def test_says_what_it_is(tiny_model: Path) -> None:
    model = load(tiny_model)
    assert (model.name, model.path) == (tiny_model.stem, tiny_model)
    assert (model.core.n_layers, model.core.n_heads, model.core.n_kv_heads, model.core.head_dim) == (2, 6, 3, 16)
    assert (model.core.dim, model.core.ffn_dim, model.n_ctx_train) == (96, 160, 512)
    assert model.n_vocab == model.tokenizer.n_vocab
    assert model.template_source is not None
    assert (model.bos_text, model.eos_text) == ("<|im_start|>", "<|im_end|>")
    assert model.n_params > model.n_vocab * 96
    assert model.size_bytes < tiny_model.stat().st_size


def test_missing_file_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="nowhere"):
        load(tmp_path / "nowhere.gguf")


def test_ids_outside_the_vocabulary_are_refused(tiny_model: Path) -> None:
    model = load(tiny_model)
    for bad in (-1, model.n_vocab):
        with pytest.raises(InvalidRequest, match=f"token id {bad}"):
            model.forward_logits(np.array([3, bad], dtype=np.int32))
    with pytest.raises(InvalidRequest, match="empty"):
        model.forward_logits(np.array([], dtype=np.int32))


def rewritten(
    tmp_path: Path,
    change: Callable[[gguf.GGUFWriter], None],
    monkeypatch: pytest.MonkeyPatch,
    spec: TinySpec = TinySpec(),  # noqa: B008 - it is frozen
) -> Path:
    """Write a tiny model whose header `change` has had the last word on."""
    original = gguf.GGUFWriter.write_header_to_file

    def write(self: gguf.GGUFWriter, *args: object) -> None:
        change(self)
        original(self, *args)

    monkeypatch.setattr(gguf.GGUFWriter, "write_header_to_file", write)
    return write_tiny_model(tmp_path / "changed.gguf", spec)


def value(writer: gguf.GGUFWriter, key: str, new: object) -> None:
    writer.kv_data[0][key].value = new


REFUSALS = {
    "architecture": (
        lambda w: value(w, "general.architecture", "mamba"),
        "architecture 'mamba'; supported: llama, qwen2, qwen3, gemma3",
    ),
    "a bias": (
        lambda w: w.add_tensor("blk.1.attn_q.bias", np.zeros(96, np.float32)),
        r"tensor 'blk.1.attn_q.bias' has no place in a llama model",
    ),
    "heads": (lambda w: value(w, "llama.attention.head_count", 4), r"4 heads do not share 3 KV heads"),
    "no layers": (lambda w: value(w, "llama.block_count", 0), "llama.block_count' is 0"),
    "more layers": (lambda w: value(w, "llama.block_count", 3), r"blk\.2\."),
    "feed-forward width": (
        lambda w: value(w, "llama.feed_forward_length", 192),
        r"ffn_gate.*96 x 160, wanted 96 x 192",
    ),
    "rope dimensions": (lambda w: value(w, "llama.rope.dimension_count", 8), "rope turns 8 of 16"),
    "rope base": (lambda w: value(w, "llama.rope.freq_base", -1.0), "rope.freq_base"),
    "epsilon": (lambda w: value(w, "llama.attention.layer_norm_rms_epsilon", float("nan")), "layer_norm_rms_epsilon"),
    "rope scaling": (lambda w: w.add_rope_scaling_type(gguf.RopeScalingType.YARN), "yarn"),
    "absurd context": (lambda w: value(w, "llama.context_length", 1 << 31), "context_length"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_what_cannot_be_run_is_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    change, words = REFUSALS[name]
    path = rewritten(tmp_path, change, monkeypatch)
    with pytest.raises(ModelError, match=words):
        load(path)


GEMMA_REFUSALS = {
    "window": (lambda w: value(w, "gemma3.attention.sliding_window", 0), "gemma3.attention.sliding_window' is 0"),
    "period": (lambda w: value(w, "gemma3.attention.sliding_window_pattern", 0), "sliding_window_pattern' is 0"),
    "cap of logits": (lambda w: w.add_final_logit_softcapping(-1.0), "final_logit_softcapping' is not a positive"),
    "cap of scores": (lambda w: w.add_attn_logit_softcapping(50.0), "attn_logit_softcapping' is not supported"),
    "local rope": (lambda w: w.add_float32("gemma3.rope.freq_base_swa", 0.0), "freq_base_swa' is not a positive"),
}


@pytest.mark.parametrize("name", GEMMA_REFUSALS)
def test_what_gemma_cannot_mean_is_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    change, words = GEMMA_REFUSALS[name]
    path = rewritten(tmp_path, change, monkeypatch, TinySpec(architecture="gemma3"))
    with pytest.raises(ModelError, match=words):
        load(path)


@pytest.mark.parametrize(
    ("architecture", "bos", "ends"),
    [
        ("qwen2", "<|im_start|>", {"<|im_end|>", "<|endoftext|>"}),
        ("qwen3", "<|im_start|>", {"<|im_end|>", "<|endoftext|>"}),
        ("gemma3", "<bos>", {"<eos>", "<end_of_turn>"}),
    ],
)
def test_architectures_bring_their_tokenizers(
    make_tiny_model: Callable[..., Path], architecture: str, bos: str, ends: set[str]
) -> None:
    model = load(make_tiny_model(architecture=architecture))
    assert model.core.architecture == architecture
    assert model.bos_text == bos
    assert {model.tokenizer.token_text(i) for i in model.tokenizer.eos_ids} == ends
    assert model.tokenizer.add_bos is (architecture == "gemma3")
    assert model.tokenizer.decode(model.tokenizer.encode("the close 日")) == "the close 日"


def test_linear_rope_scaling_divides_positions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def scale(writer: gguf.GGUFWriter) -> None:
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(4.0)

    scaled = load(rewritten(tmp_path, scale, monkeypatch))
    monkeypatch.undo()
    plain = load(write_tiny_model(tmp_path / "plain.gguf", TinySpec()))
    ids = np.arange(3, 40, dtype=np.int32)
    found, unscaled = scaled.forward_logits(ids), plain.forward_logits(ids)
    np.testing.assert_array_equal(found[0], unscaled[0])  # position 0 is 0 at any scale
    assert np.abs(found[-1] - unscaled[-1]).max() > 0.1


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("smollm2-135m", "smollm2-135m"),
        ("/not/there/Tiny.Q4_1.gguf", "Tiny.Q4_1"),
        (Path("tiny.gguf"), "tiny"),
        ("hf:Owner/repo/file.gguf", "file"),
    ],
)
def test_a_name_is_known_before_the_file_is_there(model, name):
    assert model_name(model) == name
