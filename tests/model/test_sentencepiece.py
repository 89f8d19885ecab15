"""SentencePiece vocabularies, on one small enough to see; tests/golden/test_other_models.py has Gemma's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kvtape.errors import InvalidRequest, ModelError
from kvtape.model.tokenizer import Tokenizer
from tests.golden.tokenizer.corpus import texts
from tests.reference import sentencepiece as reference
from tests.reference.tiny_vocab import GEMMA_TOKENS, gemma_scores, gemma_types


def metadata(**changes: Any) -> dict[str, Any]:
    """Keys of a model file; a change to None takes one away."""
    keys = {
        "model": "llama",
        "tokens": list(GEMMA_TOKENS),
        "scores": np.array(gemma_scores(), np.float32),
        "token_type": np.array(gemma_types(), np.int32),
        "bos_token_id": GEMMA_TOKENS.index("<bos>"),
        "eos_token_id": GEMMA_TOKENS.index("<eos>"),
        "add_space_prefix": False,
    }
    return {f"tokenizer.ggml.{k}": v for k, v in (keys | changes).items() if v is not None}


@pytest.fixture
def tokenizer() -> Tokenizer:
    return Tokenizer.from_gguf(metadata())


def pieces(tokenizer: Tokenizer, text: str, **options: bool) -> list[str]:
    return [tokenizer.token_text(i) for i in tokenizer.encode(text, **options)]


def test_the_best_score_is_joined_first(tokenizer):
    assert pieces(tokenizer, "in the system and") == ["in", "▁the", "▁s", "y", "s", "tem", "▁and"]
    assert pieces(tokenizer, "system") == ["system"]
    assert pieces(tokenizer, "closing") == ["c", "lo", "s", "ing"]
    assert tokenizer.encode("") == []


def test_what_has_no_piece_becomes_bytes(tokenizer):
    assert pieces(tokenizer, "日月") == ["日", "<0xE6>", "<0x9C>", "<0x88>"]
    assert pieces(tokenizer, "\r") == ["<0x0D>"]


def test_runs_are_the_users_words(tokenizer):
    assert pieces(tokenizer, "a\n\n\n  b") == ["a", "\n\n", "\n", "  ", "b"]
    assert pieces(tokenizer, "<b>a") == ["<b>", "a"]


def test_special_tokens_only_where_asked(tokenizer):
    text = "<start_of_turn>a<end_of_turn>"
    assert pieces(tokenizer, text, parse_special=True) == ["<start_of_turn>", "a", "<end_of_turn>"]
    assert not set(tokenizer.special_tokens.values()) & set(tokenizer.encode(text))
    assert pieces(tokenizer, "a", add_bos=True) == ["<bos>", "a"]


def test_a_turn_ends_a_generation(tokenizer):
    assert tokenizer.eos_ids == {GEMMA_TOKENS.index("<eos>"), GEMMA_TOKENS.index("<end_of_turn>")}


def test_bos_is_added_unless_the_file_says_no(tokenizer):
    assert tokenizer.add_bos
    assert not Tokenizer.from_gguf(metadata(add_bos_token=False)).add_bos


def test_a_space_goes_before_text_where_the_file_says_so():
    for key in (True, None):  # the default of such files
        tokenizer = Tokenizer.from_gguf(metadata(add_space_prefix=key))
        assert pieces(tokenizer, "the") == ["▁the"]
        assert pieces(tokenizer, "<bos>the<b>an", parse_special=True) == ["<bos>", "▁the", "<b>", "▁an"]
        assert tokenizer.encode("") == []


def test_what_was_encoded_comes_back(tokenizer):
    table = tokenizer.token_bytes()
    for text in ["the close  é日\n\n<b>月\t", "▁".replace("▁", " "), *texts()[::40]]:
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == text
        assert b"".join(table[i] for i in ids) == text.encode()


def test_equals_its_definition():
    plain = np.array([3 if kind == 4 else kind for kind in gemma_types()])  # nothing is the user's word
    tokenizer = Tokenizer.from_gguf(metadata(token_type=plain))
    for text in texts()[::10]:
        wanted = reference.encode(text.replace(" ", "▁"), list(GEMMA_TOKENS), gemma_scores(), plain.tolist())
        assert tokenizer.encode(text) == wanted, repr(text)


def test_lone_surrogates_are_refused(tokenizer):
    with pytest.raises(InvalidRequest, match="surrogates"):
        tokenizer.encode("a\ud800")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scores": None}, "'tokenizer.ggml.scores' is missing"),
        ({"scores": np.zeros(3, np.float32)}, "tokens and 3 scores"),
        ({"add_space_prefix": 1}, "is of type int, wanted bool"),
    ],
)
def test_bad_files_are_named(changes, message):
    with pytest.raises(ModelError) as caught:
        Tokenizer.from_gguf(metadata(**changes))
    assert message in str(caught.value)


def test_many_texts_are_each_encoded_by_itself(tokenizer):
    texts = ["", " ", "a b", "ab\n", "é"]
    assert tokenizer.encode_many(texts) == [tokenizer.encode(text) for text in texts]
