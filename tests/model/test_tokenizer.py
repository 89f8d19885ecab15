"""The tokenizer on a vocabulary small enough to see."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvtape.errors import InvalidRequest, ModelError
from kvtape.model.tokenizer import Tokenizer

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
NAMES = "<|im_start|> <|im_end|> <tool> a b c ab abc Ġ Ġa Ċ <unk> Ã © x"
TOKENS = [*NAMES.split(), "<|eot_id|>"]
TYPES = [CONTROL, CONTROL, USER_DEFINED, *[NORMAL] * 8, UNKNOWN, NORMAL, NORMAL, UNUSED, NORMAL]
MERGES = ["a b", "ab c", "Ġ a"]


def metadata(**changes: Any) -> dict[str, Any]:
    """Keys of a model file; a change to None takes one away."""
    keys = {
        "model": "gpt2",
        "pre": "smollm",
        "tokens": TOKENS,
        "token_type": np.array(TYPES, np.int32),
        "merges": MERGES,
        "bos_token_id": 0,
        "eos_token_id": 1,
    }
    return {f"tokenizer.ggml.{k}": v for k, v in (keys | changes).items() if v is not None}


@pytest.fixture
def tokenizer() -> Tokenizer:
    return Tokenizer.from_gguf(metadata())


def test_merges(tokenizer):
    assert tokenizer.encode("abc ab\na a") == [7, 8, 6, 10, 3, 9]  # "a b" goes before "Ġ a"
    assert tokenizer.encode("") == []
    assert tokenizer.encode("é") == [12, 13]


def test_bos_only_where_asked(tokenizer):
    assert tokenizer.encode("a", add_bos=True) == [0, 3]
    assert tokenizer.encode("", add_bos=True) == [0]
    no_bos = Tokenizer.from_gguf(metadata(bos_token_id=None))
    assert no_bos.encode("a", add_bos=True) == [3]
    assert not no_bos.add_bos


@pytest.mark.parametrize(
    ("pre", "key", "wanted"),
    [("smollm", None, False), ("llama-bpe", None, True), ("smollm", True, True), ("llama-bpe", False, False)],
)
def test_add_bos_is_the_files_or_the_kinds(pre, key, wanted):
    assert Tokenizer.from_gguf(metadata(pre=pre, add_bos_token=key)).add_bos is wanted


def test_special_tokens_only_where_asked(tokenizer):
    text = "<|im_start|>a<|im_end|>"
    assert tokenizer.encode(text, parse_special=True) == [0, 3, 1]
    assert not {0, 1} & set(tokenizer.encode(text))
    assert tokenizer.encode("b<tool>b") == [4, 2, 4]  # user-defined: a word of the language, not a command
    assert tokenizer.encode("<|im_start|><|im_start|>", parse_special=True) == [0, 0]
    assert tokenizer.special_tokens == {"<|im_start|>": 0, "<|im_end|>": 1, "<unk>": 11}


def test_a_merge_cannot_make_a_control_token():
    types = [*TYPES]
    types[TOKENS.index("ab")] = CONTROL
    tokenizer = Tokenizer.from_gguf(metadata(token_type=np.array(types), merges=["a b", "Ġ a"]))
    assert tokenizer.encode("ab") == [3, 4]


def test_a_byte_without_a_token_is_left_out_but_still_parts_its_neighbours(tokenizer):
    assert tokenizer.encode("a!b") == [3, 4]
    assert tokenizer.encode("!") == []


def test_ends(tokenizer):
    assert tokenizer.eos_ids == {1}  # <|eot_id|> is no control token here
    types = np.array([*TYPES[:-1], CONTROL])
    assert Tokenizer.from_gguf(metadata(token_type=types)).eos_ids == {1, 15}
    assert Tokenizer.from_gguf(metadata(eot_token_id=7)).eos_ids == {1, 7}


def test_bytes_and_decode(tokenizer):
    assert tokenizer.token_bytes()[:4] == [b"", b"", b"<tool>", b"a"]
    assert tokenizer.token_bytes()[8:15] == [b" ", b" a", b"\n", b"", b"\xc3", b"\xa9", b""]
    assert tokenizer.decode([0, 7, 2, 12, 13, 1]) == "abc<tool>é"
    assert tokenizer.decode([0, 7, 1], special=True) == "<|im_start|>abc<|im_end|>"
    assert tokenizer.decode([12]) == "\ufffd"
    assert tokenizer.token_text(1) == "<|im_end|>"
    for bad in (-1, len(TOKENS)):
        with pytest.raises(InvalidRequest, match="outside the vocabulary"):
            tokenizer.decode([bad])


def test_byte_tokens():
    tokens = [*TOKENS, "<0x0A>", "<0xFF>"]
    tokenizer = Tokenizer.from_gguf(metadata(tokens=tokens, token_type=np.array([*TYPES, BYTE, BYTE])))
    assert tokenizer.token_bytes()[-2:] == [b"\n", b"\xff"]


def test_lone_surrogates_are_refused(tokenizer):
    with pytest.raises(InvalidRequest, match="surrogates"):
        tokenizer.encode("a\ud800")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "bert"}, "tokenizer 'bert' is not supported; supported: gpt2 (byte-level BPE), llama (Sent"),
        ({"model": None}, "'tokenizer.ggml.model' is missing"),
        ({"pre": "tekken"}, "pre-tokenizer 'tekken' is not supported; supported: default, gpt-2, smollm,"),
        ({"tokens": "abc"}, "'tokenizer.ggml.tokens' is of type str, wanted list"),
        ({"tokens": np.arange(3)}, "is of type ndarray, wanted list"),
        ({"tokens": TOKENS[:-1]}, "15 tokens and 16 token types"),
        ({"merges": None}, "'tokenizer.ggml.merges' is missing"),
        ({"merges": ["ab"]}, "merge 'ab' is not two tokens"),
        ({"merges": ["a c"]}, "do not fit together"),
        ({"bos_token_id": 99}, "the bos token is 99, the vocabulary has 16 tokens"),
        ({"eos_token_id": "2"}, "is of type str, wanted int"),
        ({"add_bos_token": 1}, "is of type int, wanted bool"),
    ],
)  # fmt: skip
def test_bad_files_are_named(changes, message):
    with pytest.raises(ModelError) as caught:
        Tokenizer.from_gguf(metadata(**changes))
    assert message in str(caught.value)


@pytest.mark.parametrize("change", [{}, {"token_type": None}, {"pre": "llama-bpe"}])
@given(texts=st.lists(st.text("abc Ġé\n<tool>|im_start", max_size=20), max_size=6))
def test_many_texts_are_each_encoded_by_itself(change, texts):
    tokenizer = Tokenizer.from_gguf(metadata(**change))
    assert tokenizer.encode_many(texts) == [tokenizer.encode(text) for text in texts]


def test_many_texts_with_lone_surrogates_are_refused(tokenizer):
    with pytest.raises(InvalidRequest, match="surrogates"):
        tokenizer.encode_many(["a", "\ud800"])


def test_threads_agree(tokenizer):
    texts = ["abc" * n + " a\n" for n in range(200)]
    wanted = [tokenizer.encode(text) for text in texts]
    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(lambda _: [tokenizer.encode(text) for text in texts], range(16)):
            assert found == wanted
