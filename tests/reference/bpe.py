"""Byte-level BPE by its definition: cut the text into words, then join the pair of lowest rank until none is left.

Slow and plain: characters are looked at one by one, nothing is shared with the `tokenizers` library.
"""

from __future__ import annotations

import itertools
import unicodedata
from collections.abc import Callable, Iterator

WHITE_SPACE = frozenset("\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000") | {
    chr(c) for c in range(0x2000, 0x200B)
}


def kind(c: str) -> str:
    """`s` white space, `L` letter, `N` number, `P` punctuation, else `o`."""
    if c in WHITE_SPACE:
        return "s"
    category = unicodedata.category(c)[0]
    return category if category in "LNP" else "o"


def _run(text: str, start: int, wanted: Callable[[str], bool]) -> int:
    end = start
    while end < len(text) and wanted(text[end]):
        end += 1
    return end


def _is(*kinds: str) -> Callable[[str], bool]:
    return lambda c: kind(c) in kinds


def _contraction(text: str, i: int, *, any_case: bool) -> int:
    if text[i] == "'":
        for ending in ("re", "ve", "ll", "s", "t", "m", "d"):
            found = text[i + 1 : i + 1 + len(ending)]
            # ASCII only: U+017F, the long s, must not pass for an s
            if (found.lower() if any_case and found.isascii() else found) == ending:
                return i + 1 + len(ending)
    return i


def _spaces(text: str, i: int) -> int:
    """White space leaves its last character to the word that follows, where it is not the only one."""
    end = _run(text, i, _is("s"))
    return end - 1 if end < len(text) and end - i > 1 else end


def gpt2_words(text: str) -> Iterator[str]:
    """Contractions; letters, numbers or other signs, each with at most one space before; white space."""
    i = 0
    while i < len(text):
        end = _contraction(text, i, any_case=False)
        if end == i:
            first = i + 1 if text[i] == " " and i + 1 < len(text) and kind(text[i + 1]) != "s" else i
            same = {"L": _is("L"), "N": _is("N"), "P": _is("P", "o"), "o": _is("P", "o")}.get(kind(text[first]))
            end = _run(text, first, same) if same else _spaces(text, i)
        yield text[i:end]
        i = end


def llama3_words(text: str, max_digits: int) -> Iterator[str]:
    """Contractions in any case; letters with one sign before; few digits; signs with line breaks after; white space."""
    i = 0
    while i < len(text):
        end = _llama3_word_end(text, i, max_digits)
        yield text[i:end]
        i = end


def _llama3_word_end(text: str, i: int, max_digits: int) -> int:
    end = _contraction(text, i, any_case=True)
    if end > i:
        return end
    letters = i if kind(text[i]) == "L" else i + 1 if kind(text[i]) != "N" and text[i] not in "\r\n" else None
    if letters is not None and letters < len(text) and kind(text[letters]) == "L":
        return _run(text, letters, _is("L"))
    if kind(text[i]) == "N":
        return min(_run(text, i, _is("N")), i + max_digits)
    signs = i + 1 if text[i] == " " else i
    end = _run(text, signs, _is("P", "o"))
    if end > signs:
        return _run(text, end, lambda c: c in "\r\n")
    space = _run(text, i, _is("s"))
    last_break = max(text.rfind("\r", i, space), text.rfind("\n", i, space))
    return last_break + 1 if last_break >= 0 else _spaces(text, i)


def cut_runs(wanted: Callable[[str], bool], n_max: int | None = None) -> Callable[[str], Iterator[str]]:
    """A cutter: what is wanted in runs (of at most n_max), what lies between as it is."""

    def cut(text: str) -> Iterator[str]:
        i = 0
        while i < len(text):
            yes = wanted(text[i])
            end = _run(text, i, wanted if yes else lambda c: not wanted(c))
            if yes and n_max:
                end = min(end, i + n_max)
            yield text[i:end]
            i = end

    return cut


def _threes(text: str) -> Iterator[str]:
    """ASCII digits three by three; a rest of one or two stays with what follows it."""
    start = i = 0
    while i < len(text):
        if text[i : i + 3].isascii() and text[i : i + 3].isdigit() and len(text[i : i + 3]) == 3:
            if start < i:
                yield text[start:i]
            yield text[i : i + 3]
            start = i = i + 3
        else:
            i += 1
    if start < len(text):
        yield text[start:]


CUTTERS: dict[str, tuple[Callable[[str], Iterator[str]], ...]] = {
    "gpt-2": (gpt2_words,),
    "smollm": (cut_runs(_is("N"), 1), gpt2_words),
    "llama-bpe": (lambda text: llama3_words(text, 3),),
    "qwen2": (lambda text: llama3_words(text, 1),),
    "default": (cut_runs(lambda c: kind(c) == "P" or c in "$+<=>^~|"), gpt2_words, cut_runs(_is("N")), _threes),
}


def byte_characters() -> list[str]:
    """The character of each byte: itself where it can be seen, else the next free one from U+0100 on."""
    characters, n = [], 0
    for byte in range(256):
        visible = 0x21 <= byte <= 0x7E or (0xA1 <= byte <= 0xFF and byte != 0xAD)
        characters.append(chr(byte) if visible else chr(0x100 + n))
        n += not visible
    return characters


class ReferenceBpe:
    """Encodes plain text with a vocabulary and its merges, best first."""

    def __init__(self, tokens: list[str], merges: list[str], pre: str) -> None:
        self.ids = {token: i for i, token in enumerate(tokens)}
        self.ranks = {tuple(merge.split(" ")): rank for rank, merge in enumerate(merges)}
        self.cutters = CUTTERS[pre]
        self.whole_words = pre == "llama-bpe"
        self.characters = byte_characters()
        self.seen: dict[str, list[int]] = {}

    def encode(self, text: str) -> list[int]:
        """Ids of the text; bytes without a token are left out."""
        words = [text]
        for cutter in self.cutters:
            words = [part for word in words for part in cutter(word)]
        assert "".join(words) == text
        ids: list[int] = []
        for word in words:
            if word not in self.seen:
                self.seen[word] = self._encode_word(word)
            ids += self.seen[word]
        return ids

    def _encode_word(self, word: str) -> list[int]:
        symbols = [self.characters[byte] for byte in word.encode()]
        if self.whole_words and "".join(symbols) in self.ids:
            return [self.ids["".join(symbols)]]
        while len(symbols) > 1:
            pairs = enumerate(itertools.pairwise(symbols))
            ranked = [(self.ranks[pair], i) for i, pair in pairs if pair in self.ranks]
            if not ranked:
                break
            _, i = min(ranked)
            symbols[i : i + 2] = [symbols[i] + symbols[i + 1]]
        return [self.ids[symbol] for symbol in symbols if symbol in self.ids]
