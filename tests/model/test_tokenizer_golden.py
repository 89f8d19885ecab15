"""The tokenizer against llama.cpp, recorded, and against BPE by its definition, on SmolLM2's vocabulary."""

from __future__ import annotations

import itertools
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kvtape._native import _core
from kvtape.model.tokenizer import PRE_TOKENIZERS, Tokenizer
from tests.golden.tokenizer.corpus import texts, with_more_words
from tests.reference.bpe import ReferenceBpe

GOLDEN = Path(__file__).parents[1] / "golden" / "tokenizer"

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def metadata(model_path: Path) -> Mapping[str, Any]:
    return _core.GgufFile(str(model_path)).metadata


@pytest.fixture(scope="module")
def recorded() -> Mapping[str, np.ndarray]:
    return dict(np.load(GOLDEN / "llama_cpp.npz"))


@pytest.fixture(scope="module")
def corpus(recorded) -> list[str]:
    made = texts()
    assert zlib.crc32("\0".join(made).encode()) == recorded["corpus"], "not the corpus that was recorded"
    assert len(set(made)) > 8_000
    assert len(made) >= 10_000
    return made


def with_pre(metadata: Mapping[str, Any], pre: str) -> Mapping[str, Any]:
    return metadata if pre == "smollm" else with_more_words(metadata, pre)


def checksum(ids: list[int]) -> int:
    return zlib.crc32(np.array(ids, "<i4").tobytes()) & 0xFFFF


@pytest.mark.parametrize("pre", PRE_TOKENIZERS)
def test_equals_llama_cpp(metadata, recorded, corpus, pre):
    tokenizer = Tokenizer.from_gguf(with_pre(metadata, pre))
    for text, wanted in json.loads((GOLDEN / "llama_cpp.json").read_text())[pre].items():
        assert tokenizer.encode(text) == wanted, text
    found = np.array([checksum(tokenizer.encode(text)) for text in corpus], np.uint16)
    different = np.flatnonzero(found != recorded[f"{pre}.plain"])
    assert not different.size, [(corpus[i], tokenizer.encode(corpus[i])) for i in different[:5]]


def test_special_tokens_equal_llama_cpp(metadata, recorded, corpus):
    tokenizer = Tokenizer.from_gguf(metadata)
    found = np.array([checksum(tokenizer.encode(text, parse_special=True)) for text in corpus], np.uint16)
    different = np.flatnonzero(found != recorded["smollm.special"])
    assert not different.size, [(corpus[i], tokenizer.encode(corpus[i], parse_special=True)) for i in different[:5]]


def test_the_recording_tells_the_pre_tokenizers_apart(recorded):
    answers = [recorded[f"{pre}.plain"] for pre in PRE_TOKENIZERS]
    for one, other in itertools.combinations(answers, 2):
        assert np.count_nonzero(one != other) > 500


@pytest.mark.parametrize("pre", PRE_TOKENIZERS)
def test_equals_bpe_by_definition(metadata, corpus, pre):
    metadata = with_pre(metadata, pre)
    tokenizer = Tokenizer.from_gguf(metadata)
    reference = ReferenceBpe(metadata["tokenizer.ggml.tokens"], metadata["tokenizer.ggml.merges"], pre)
    for text in corpus:
        assert tokenizer.encode(text) == reference.encode(text), repr(text)


def test_pieces_equal_llama_cpp(metadata, recorded):
    pieces = Tokenizer.from_gguf(metadata).token_bytes()
    assert zlib.crc32(repr(pieces).encode()) == recorded["pieces"]


def test_plain_text_never_holds_a_control_token(metadata, corpus):
    tokenizer = Tokenizer.from_gguf(metadata)
    control = set(tokenizer.special_tokens.values())
    assert len(control) == 17
    for text in [*tokenizer.special_tokens, *corpus]:
        assert control.isdisjoint(tokenizer.encode(text)), repr(text)
    for text, token_id in tokenizer.special_tokens.items():
        assert tokenizer.encode(text, parse_special=True) == [token_id]


def test_what_the_vocabulary_can_write_comes_back(metadata, corpus):
    tokenizer = Tokenizer.from_gguf(metadata)
    table = tokenizer.token_bytes()
    writable = {byte for piece in table if len(piece) == 1 for byte in piece}
    n_same = 0
    for text in corpus:
        ids = tokenizer.encode(text)
        kept = bytes(byte for byte in text.encode() if byte in writable)
        assert b"".join(table[i] for i in ids) == kept
        n_same += tokenizer.decode(ids) == text
    assert n_same > 9_000
