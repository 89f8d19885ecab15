"""Text to token ids and back, from the keys of a GGUF file.

Byte-level BPE ("gpt2") with the pre-tokenisers of `PRE_TOKENIZERS`, and SentencePiece ("llama"). Ids equal those of
llama.cpp for the same file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tokenizers
from tokenizers import models, pre_tokenizers

from kvtape.errors import InvalidRequest, ModelError
from kvtape.model import sentencepiece

__all__ = ["PRE_TOKENIZERS", "Tokenizer"]

# The library would spread a batch over all cores, which are the engine's, and warn in processes forked afterwards.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

_NO_UTF8 = "text has lone surrogates, which UTF-8 cannot hold"

_CONTRACTION = "'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]"
_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_LLAMA3 = (
    rf"{_CONTRACTION}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,%d}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)

# tokenizer.ggml.pre -> patterns; each cuts what the one before it left, and what matches nowhere is a word of its own.
PRE_TOKENIZERS: dict[str, tuple[str, ...]] = {
    "default": (r"[\p{P}$+<=>^~|]+", _GPT2, r"\p{N}+", "[0-9][0-9][0-9]"),
    "gpt-2": (_GPT2,),
    "smollm": (r"\p{N}", _GPT2),
    "llama-bpe": (_LLAMA3 % 3,),
    "qwen2": (_LLAMA3 % 1,),
}
_IGNORES_MERGES = {"llama-bpe"}  # a word that is a token is taken whole, whatever the merges would make of it
_ADDS_BOS = {"llama-bpe"}  # where the file does not say

# tokenizer.ggml.token_type
_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _UNUSED, _BYTE = range(1, 7)

# Control tokens that end a turn or a text, by the names that models give them.
_END_TEXTS = {
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "</s>",
}


def _byte_alphabet() -> dict[str, int]:
    """Byte-level vocabularies write printable Latin-1 as itself and the other bytes from U+0100 on."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    shifted = [byte for byte in range(256) if byte not in set(plain)]
    return {chr(byte): byte for byte in plain} | {chr(0x100 + i): byte for i, byte in enumerate(shifted)}


_BYTE_OF = _byte_alphabet()
_BYTE_CHARACTERS = frozenset(_BYTE_OF)
_TO_LATIN_1 = str.maketrans({character: chr(byte) for character, byte in _BYTE_OF.items()})


class Tokenizer:
    """Text to token ids and back. Safe to use from several threads.

    Attributes:
        n_vocab: number of tokens.
        bos_id: the token that begins a text, where the model has one.
        eos_ids: every token that ends a generation.
        add_bos: whether a text handed to this model should begin with `bos_id`.
        special_tokens: text to id of the tokens that `parse_special` looks for.
    """

    def __init__(
        self,
        tokens: list[str],
        token_types: Iterable[int],
        merges: list[str] | None = None,
        *,
        scores: list[float] | None = None,
        add_space_prefix: bool = True,
        pre: str = "default",
        bos_id: int | None = None,
        eos_ids: Iterable[int] = (),
        add_bos: bool | None = None,
    ) -> None:
        """Build from a vocabulary; `token_types` are GGUF's numbers, one a token.

        With `scores`, one a token, it is SentencePiece's, and `add_space_prefix` says whether text begins with a space
        of its own; else byte-level BPE, of `merges` and `pre`.

        Raises:
            ModelError: `pre` is not in `PRE_TOKENIZERS`, or the tables do not fit together.
        """
        self._is_sentencepiece = scores is not None
        if not self._is_sentencepiece and pre not in PRE_TOKENIZERS:
            raise ModelError(f"pre-tokenizer {pre!r:.60} is not supported; supported: {', '.join(PRE_TOKENIZERS)}")
        types = list(token_types)
        if len(types) != len(tokens):
            raise ModelError(f"the vocabulary has {len(tokens)} tokens and {len(types)} token types")
        self._tokens, self._types = tokens, types
        self.n_vocab = len(tokens)
        self.bos_id = self._checked_id("bos", bos_id)
        adds_bos = self._is_sentencepiece or pre in _ADDS_BOS
        self.add_bos = bos_id is not None and (adds_bos if add_bos is None else add_bos)
        ends = {i for i, text in enumerate(tokens) if types[i] == _CONTROL and text in _END_TEXTS}
        self.eos_ids = frozenset(ends.union(i for i in eos_ids if self._checked_id("eos", i) is not None))

        self.special_tokens = {text: i for i, text in enumerate(tokens) if types[i] in (_CONTROL, _UNKNOWN) and text}
        self._user_defined = {text: i for i, text in enumerate(tokens) if types[i] == _USER_DEFINED and text}
        self._find_user_defined = _any_of(self._user_defined)
        self._find_special = _any_of(self._user_defined | self.special_tokens)
        self._drops, self._prefix = False, ""
        if scores is None:
            self._bpe = self._build_bpe(merges or [], pre)
        else:
            self._bpe = self._build_sentencepiece(scores)
            self._prefix = " " if add_space_prefix else ""

    @classmethod
    def from_gguf(cls, metadata: Mapping[str, Any]) -> Tokenizer:
        """Build from the keys of a model file (`GgufFile.metadata`).

        Raises:
            ModelError: a key is missing or of the wrong type, or the tokenizer is of a kind that is not supported.
        """
        model = _key(metadata, "model", str)
        if model not in ("gpt2", "llama"):
            raise ModelError(
                f"tokenizer {model!r:.60} is not supported; supported: gpt2 (byte-level BPE), llama (SentencePiece)"
            )
        tokens = _key(metadata, "tokens", list)
        eos_ids = [_key(metadata, f"{name}_token_id", int, -1) for name in ("eos", "eot", "eom")]
        bos_id = _key(metadata, "bos_token_id", int, -1)
        is_bpe = model == "gpt2"
        return cls(
            tokens,
            _key(metadata, "token_type", np.ndarray, np.full(len(tokens), _NORMAL)).tolist(),
            _key(metadata, "merges", list) if is_bpe else None,
            scores=None if is_bpe else _key(metadata, "scores", np.ndarray).tolist(),
            add_space_prefix=_key(metadata, "add_space_prefix", bool, True),
            pre=_key(metadata, "pre", str, "default"),
            bos_id=None if bos_id == -1 else bos_id,
            eos_ids=[i for i in eos_ids if i != -1],
            add_bos=_key(metadata, "add_bos_token", bool) if "tokenizer.ggml.add_bos_token" in metadata else None,
        )

    def encode(self, text: str, *, parse_special: bool = False, add_bos: bool = False) -> list[int]:
        """Turn text into token ids. Bytes that the vocabulary has no token for are left out.

        `parse_special`: the texts of `special_tokens` become those tokens. Without it they are plain text like any
        other, which is what anything a user wrote must be.

        Raises:
            InvalidRequest: the text has lone surrogates, which no UTF-8 can hold.
        """
        ids = [self.bos_id] if add_bos and self.bos_id is not None else []
        finder = self._find_special if parse_special else self._find_user_defined
        if finder is None:
            return ids + self._encode_plain(text)
        start = 0
        for found in finder.finditer(text):
            ids += self._encode_plain(text[start : found.start()])
            token = found[0]
            ids.append(self._user_defined[token] if token in self._user_defined else self.special_tokens[token])
            start = found.end()
        return ids + self._encode_plain(text[start:])

    def encode_many(self, texts: Sequence[str]) -> list[list[int]]:
        """Turn each text into token ids, as `encode` does; unlike there, other threads run meanwhile.

        Raises:
            InvalidRequest: a text has lone surrogates.
        """
        finder = self._find_user_defined
        if finder is not None and any(map(finder.search, texts)):
            return [self.encode(text) for text in texts]
        try:
            found = self._bpe.encode_batch(list(map(self._prepared, texts)), add_special_tokens=False)
        except TypeError as error:
            raise InvalidRequest(_NO_UTF8) from error
        return [self._kept(each.ids) for each in found]

    def _encode_plain(self, text: str) -> list[int]:
        if not text:
            return []
        try:
            return self._kept(self._bpe.encode(self._prepared(text), add_special_tokens=False).ids)
        except TypeError as error:  # what the library makes of text that is not UTF-8
            raise InvalidRequest(_NO_UTF8) from error

    def _prepared(self, text: str) -> str:
        if self._is_sentencepiece and text:
            return (self._prefix + text).replace(" ", sentencepiece.SPACE)
        return text

    def _kept(self, ids: list[int]) -> list[int]:
        return [i for i in ids if i < self.n_vocab] if self._drops else ids

    def token_bytes(self) -> list[bytes]:
        """What each token adds to the text; control, unknown and unused tokens add nothing."""
        return [self._bytes_of(text, kind) for text, kind in zip(self._tokens, self._types, strict=True)]

    def decode(self, ids: Iterable[int], *, special: bool = False) -> str:
        """Turn token ids into text; `special` shows control tokens too. Bytes that are no UTF-8 become U+FFFD.

        Raises:
            InvalidRequest: an id is outside the vocabulary.
        """
        pieces = []
        for i in ids:
            if not 0 <= i < self.n_vocab:
                raise InvalidRequest(f"token id {i} is outside the vocabulary of {self.n_vocab}")
            shown = special and self._types[i] in (_CONTROL, _UNKNOWN)
            pieces.append(self._tokens[i].encode() if shown else self._bytes_of(self._tokens[i], self._types[i]))
        return b"".join(pieces).decode("utf-8", "replace")

    def token_text(self, token_id: int) -> str:
        """The token as the vocabulary writes it; `<|im_end|>` for that control token."""
        return self._tokens[token_id]

    def _bytes_of(self, text: str, kind: int) -> bytes:
        if kind in (_NORMAL, _USER_DEFINED) and self._is_sentencepiece:
            return text.replace(sentencepiece.SPACE, " ").encode()
        if kind == _USER_DEFINED:
            return text.encode()
        if kind == _NORMAL and _BYTE_CHARACTERS.issuperset(text):  # nearly always, and several times as fast
            return text.translate(_TO_LATIN_1).encode("latin-1")
        if kind == _NORMAL:
            return b"".join(bytes((_BYTE_OF[c],)) if c in _BYTE_OF else c.encode() for c in text)
        if kind == _BYTE and re.fullmatch("<0x[0-9A-Fa-f]{2}>", text):
            return bytes((int(text[3:5], 16),))
        return b""

    def _checked_id(self, name: str, token_id: int | None) -> int | None:
        if token_id is not None and not 0 <= token_id < self.n_vocab:
            raise ModelError(f"the {name} token is {token_id}, the vocabulary has {self.n_vocab} tokens")
        return token_id

    def _build_sentencepiece(self, scores: list[float]) -> tokenizers.Tokenizer:
        if len(scores) != self.n_vocab:
            raise ModelError(f"the vocabulary has {self.n_vocab} tokens and {len(scores)} scores")
        # Control and user-defined tokens stay out: the first must not be made of text, the second are found before.
        kinds = (_NORMAL, _BYTE, _UNUSED)
        return sentencepiece.build({t: i for i, t in enumerate(self._tokens) if self._types[i] in kinds}, scores)

    def _build_bpe(self, merges: list[str], pre: str) -> tokenizers.Tokenizer:
        # Control tokens stay out of the table: no text may become one by way of merges.
        vocab = {text: i for i, text in enumerate(self._tokens) if self._types[i] in (_NORMAL, _BYTE, _UNUSED)}
        # A byte without a token must still stand between its neighbours, or they would be merged over it.
        missing = [character for character in _BYTE_OF if character not in vocab]
        vocab |= {character: self.n_vocab + i for i, character in enumerate(missing)}
        self._drops = bool(missing)
        pairs = []
        for merge in merges:
            left, space, right = merge.partition(" ")
            if not (left and space and right):
                raise ModelError(f"merge {merge!r:.60} is not two tokens with a space between them")
            if left + right not in self.special_tokens and left + right not in self._user_defined:
                pairs.append((left, right))
        try:
            bpe = models.BPE(vocab=vocab, merges=pairs, ignore_merges=pre in _IGNORES_MERGES)
        except Exception as error:  # the library raises nothing narrower
            raise ModelError(f"the vocabulary and the merges do not fit together: {error}") from error
        tokenizer = tokenizers.Tokenizer(bpe)
        splits = [pre_tokenizers.Split(tokenizers.Regex(p), behavior="isolated") for p in PRE_TOKENIZERS[pre]]
        bytes_to_characters = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*splits, bytes_to_characters])
        return tokenizer


def _any_of(texts: Iterable[str]) -> re.Pattern[str] | None:
    """A pattern for any of the texts, the longest first; None for no text at all."""
    ordered = sorted(texts, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, ordered))) if ordered else None


def _key(metadata: Mapping[str, Any], name: str, kind: type, default: Any = None) -> Any:
    """The value of a tokenizer key; an error where it is of another type, or absent without a default."""
    key = f"tokenizer.ggml.{name}"
    value = metadata.get(key, default)
    if value is None:
        raise ModelError(f"key '{key}' is missing")
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ModelError(f"key '{key}' is of type {type(value).__name__}, wanted {kind.__name__}")
    return value
