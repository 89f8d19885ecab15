"""Real models of the other architectures, by hand: KVTAPE_TEST_MODELS names the folder of their files.

Minutes long and some GB: the reference is a float32 pass in numpy over the dequantised weights. Tokenizers are compared
with llama.cpp where bench.peers has fetched it before.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from bench.peers.llama_cpp import LlamaCpp, is_here
from bench.quality.task import text
from kvtape.chat.template import ChatTemplate
from kvtape.model.load import Model, load
from tests.golden.tokenizer.corpus import texts
from tests.reference.transformer import TransformerReference

MODELS = {  # file, and positions compared: past Gemma's window of 512
    "gemma3": ("gemma-3-270m-q4_k_m.gguf", 600),
    "qwen2": ("qwen2.5-coder-0.5b-instruct-q4_k_m.gguf", 300),
}
CLEAR_MARGIN = 0.5

pytestmark = pytest.mark.skipif("KVTAPE_TEST_MODELS" not in os.environ, reason="KVTAPE_TEST_MODELS is not set")


@pytest.fixture(scope="module", params=MODELS)
def model(request: pytest.FixtureRequest) -> Model:
    path = Path(os.environ["KVTAPE_TEST_MODELS"]) / MODELS[request.param][0]
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    return load(path)


def test_best_token_is_that_of_float32_where_it_leads(model: Model) -> None:
    n_positions = MODELS[model.core.architecture][1]
    tokenizer = model.tokenizer
    ids = np.asarray(tokenizer.encode(text(), add_bos=tokenizer.add_bos)[:n_positions], np.int32)
    exact = TransformerReference(model.path, np.float32).forward(ids)
    second, best = np.partition(exact, -2, axis=-1)[:, -2:].T
    clear = best - second > CLEAR_MARGIN
    assert clear.mean() > 0.5
    found = model.forward_logits(ids, n_threads=2).argmax(axis=-1)
    np.testing.assert_array_equal(found[clear], exact.argmax(axis=-1)[clear])


def test_ids_equal_llama_cpp(model: Model) -> None:
    if not is_here():
        pytest.skip("llama.cpp is not here; python -m bench.peers.llama_cpp MODEL fetches it")
    peer = LlamaCpp(model.path, backend="haswell", n_ctx=64, n_threads=1)
    runs = [unit * n for unit in ("a", "aaab", "  ", "\n", "\t", "=-", "ab ") for n in range(1, 70)]
    for sample in [*texts(), *runs]:
        if "</s>" in sample:
            continue  # a word of both vocabularies; llama.cpp makes it a control token in every one
        for parse_special in (False, True):
            wanted = peer.tokenize(sample, parse_special=parse_special)
            assert model.tokenizer.encode(sample, parse_special=parse_special) == wanted, repr(sample)
    peer.close()


def test_chat_template_renders(model: Model) -> None:
    if model.template_source is None:
        pytest.skip("a base model without a template")
    template = ChatTemplate(model.template_source, bos_token=model.bos_text, eos_token=model.eos_text)
    rendered = template.render([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}])
    template.close()
    assert rendered == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    )
    ends = {model.tokenizer.token_text(i) for i in model.tokenizer.eos_ids}
    assert ends == {"<|im_end|>", "<|endoftext|>"}
