"""Text assembly: however bytes are cut into tokens, the text is what decoding the whole gives, up to the first stop."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kvtape._native import _core
from kvtape.errors import InvalidRequest

# Few letters make matches and near misses likely; the others begin, continue or break characters.
PIECES = st.sampled_from(
    [
        "a",
        "b",
        "ab",
        "aab",
        "é",
        "€",
        "🙂",
        b"\xe2",
        b"\x82",
        b"\xac",
        b"\xf0\x9f",
        b"\x80",
        b"\xff",
        b"\xed\xa0",
        b"\xc0",
        "",
    ]
)
TEXTS = st.lists(PIECES, max_size=12).map(
    lambda parts: b"".join(p if isinstance(p, bytes) else p.encode() for p in parts)
)
STOPS = st.lists(st.text("ab€é", min_size=1, max_size=4), max_size=4)


def assemble(tokens: list[bytes], stops: list[str]) -> tuple[str, bool, list[str]]:
    """The text of the tokens, whether it stopped, and the pieces."""
    table = _core.TokenBytes(tokens)
    assembler = _core.TextAssembler(table, stops)
    pieces, stopped = [], False
    for i in range(len(tokens)):
        text, stopped = assembler.push(i)
        pieces.append(text)
    pieces.append(assembler.finish())
    return "".join(pieces), stopped, pieces


def expected(data: bytes, stops: list[str]) -> tuple[str, bool]:
    """By definition: the first end of a match, the longest stop that ends there."""
    for end in range(1, len(data) + 1):
        found = [len(stop.encode()) for stop in stops if data[:end].endswith(stop.encode())]
        if found:
            return data[: end - max(found)].decode("utf-8", "replace"), True
    return data.decode("utf-8", "replace"), False


@settings(max_examples=300)
@given(TEXTS, STOPS)
@example(b"aab", ["ab"])
@example(b"aaab", ["aab"])
@example(b"ababac", ["abac"])
@example("ab€".encode(), ["b€", "ab€"])
@example(b"\xf0\x9fab", ["ab"])
def test_any_cut_in_two_or_three_gives_the_same_text(data, stops):
    wanted = expected(data, stops)
    for i, j in itertools.combinations_with_replacement(range(len(data) + 1), 2):
        text, stopped, _ = assemble([data[:i], data[i:j], data[j:]], stops)
        assert (text, stopped) == wanted, (i, j)
    assert assemble([data[i : i + 1] for i in range(len(data))], stops)[:2] == wanted


def test_a_piece_is_released_as_soon_as_it_is_certain():
    tokens = ["a€".encode()[:2], "a€".encode()[2:], b"b", b"xy", b"y", b"z"]
    assert assemble(tokens, ["yyy"])[2] == ["a", "€", "b", "x", "", "yyz", ""]


def test_nothing_follows_a_stop():
    text, stopped, pieces = assemble([b"one STO", b"P two", b" three"], ["STOP"])
    assert (text, stopped) == ("one ", True)
    assert pieces == ["one ", "", "", ""]


def test_bad_arguments():
    table = _core.TokenBytes([b"a"])
    with pytest.raises(InvalidRequest, match="a stop string is empty"):
        _core.TextAssembler(table, [""])
    with pytest.raises(InvalidRequest, match="token id 1 is outside the vocabulary of 1"):
        _core.TextAssembler(table, []).push(1)
