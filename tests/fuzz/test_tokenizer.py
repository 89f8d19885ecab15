"""Any text: encoding loses nothing that the vocabulary can write, and never makes a special token of it."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from kvtape.model.tokenizer import PRE_TOKENIZERS, Tokenizer
from tests.reference.bpe import ReferenceBpe, byte_characters

CHARACTERS = byte_characters()
MERGES = ["a b", "ab c", "Ġ a", "Ġ Ġ", "1 2", "12 3", "Ċ Ċ", "Ã ©", "' s", "! !"]
TOKENS = ["<|end|>", *CHARACTERS, *(merge.replace(" ", "") for merge in MERGES)]
TYPES = [3] + [1] * (len(TOKENS) - 1)
TOKENIZERS = {pre: Tokenizer(TOKENS, TYPES, MERGES, pre=pre) for pre in PRE_TOKENIZERS}
REFERENCES = {pre: ReferenceBpe(TOKENS, MERGES, pre) for pre in PRE_TOKENIZERS}
TEXTS = st.one_of(
    st.text(st.sampled_from("abc  1230\n\n\r\té'sTLl!?<|end|>€字"), max_size=40),
    st.lists(st.sampled_from(["<|end|>", "abc", "12", "\n", " ", "'s", "'LL", "é", "!!", "\u3000"]), max_size=12).map(
        "".join
    ),
)


@settings(max_examples=300)
@given(TEXTS)
def test_plain_text_round_trips_and_follows_the_definition(text):
    for pre, tokenizer in TOKENIZERS.items():
        ids = tokenizer.encode(text)
        assert ids == REFERENCES[pre].encode(text)
        assert tokenizer.decode(ids) == text
        assert 0 not in ids


@settings(max_examples=200)
@given(st.text(max_size=40))
def test_any_unicode_round_trips(text):
    for tokenizer in TOKENIZERS.values():
        assert tokenizer.decode(tokenizer.encode(text)) == text


@settings(max_examples=200)
@given(TEXTS)
def test_special_tokens_split_the_text(text):
    for tokenizer in TOKENIZERS.values():
        wanted: list[int] = []
        for i, part in enumerate(text.split("<|end|>")):
            wanted += [0] * (i > 0) + tokenizer.encode(part)
        assert tokenizer.encode(text, parse_special=True) == wanted
