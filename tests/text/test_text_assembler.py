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


def rules(stops: list[str], *, shown: list[tuple[int, bytes]] | None = None, **span: object) -> _core.TextRules:
    """What a text obeys; fields of a span make it one that may reason between `<r>` and `</r>`."""
    marked = {"open": "<r>", "close": "</r>", "opened": False, "budget": None, "close_ids": [], "stop_inside": False}
    reasoning = _core.ReasoningSpan(**(marked | span)) if span else None
    return _core.TextRules(stop=stops, shown=shown or [], reasoning=reasoning)


def assemble(tokens: list[bytes], stops: list[str], **options: object) -> tuple[str, bool, list[str]]:
    """The text of the tokens, whether it stopped, and the pieces."""
    table = _core.TokenBytes(tokens)
    assembler = _core.TextAssembler(table, rules(stops, **options))
    pieces = []
    for i in range(len(tokens)):
        text, _ = assembler.push(i)
        pieces.append(text)
    text, stopped = assembler.finish()
    pieces.append(text)
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


REPLIES = st.lists(
    st.sampled_from([b"<r>", b"</r>", b"<", b"/r>", b"\n", b" ", b"a", b"b", b"ab", b"\xe2", b"\x82\xac", b"\xff"]),
    max_size=10,
).map(b"".join)


def answer_of(data: bytes, *, opened: bool) -> int:
    """By definition: where the answer begins."""
    begun = data.lstrip(b" \t\r\n")
    if not opened and not begun.startswith(b"<r>"):
        return 0
    inside = 0 if opened else len(data) - len(begun) + len(b"<r>")
    close = data.find(b"</r>", inside)
    if close < 0:
        return len(data)
    behind = close + len(b"</r>")
    return len(data) - len(data[behind:].lstrip(b"\r\n"))


@settings(max_examples=300, deadline=None)
@given(REPLIES, STOPS.map(lambda stops: [*stops, "\n"]), st.booleans())
@example(b"\n <r>a\n</r>\n\nab\n", ["\n"], False)
@example(b"a\n</r>", ["\n"], True)
@example(b"\n <r", ["\n"], False)
@example(b"<r>b</r>ab", ["r>a", "ba"], False)
def test_stops_are_looked_for_in_the_answer_wherever_tokens_cut(data, stops, opened):
    start = answer_of(data, opened=opened)
    text, stopped = expected(data[start:], stops)
    head = data[:start]
    for end in range(start, len(data) + 1):  # the head is decoded with the answer: a character may be cut at the border
        if expected(data[start:end], stops)[1] or end == len(data):
            cut = max((len(s.encode()) for s in stops if data[start:end].endswith(s.encode())), default=0)
            text = (head + data[start : end - (cut if stopped else 0)]).decode("utf-8", "replace")
            break
    for i, j in itertools.combinations_with_replacement(range(len(data) + 1), 2):
        found, ended, _ = assemble([data[:i], data[i:j], data[j:]], stops, opened=opened)
        assert (found, ended) == (text, stopped), (i, j)
    assert assemble([data[i : i + 1] for i in range(len(data))], stops, opened=opened)[:2] == (text, stopped)
    everywhere = assemble([data[i : i + 1] for i in range(len(data))], stops, opened=opened, stop_inside=True)
    assert everywhere[:2] == expected(data, stops)


def test_reasoning_is_not_held_back():
    tokens = [b"\n", b"<", b"r>", b"so", b"\n", b"</", b"r>\n", b"\n", b"a", b"b", b"c"]
    assert assemble(tokens, ["bc", "o"], opened=False)[2] == [
        "", "", "\n<r>", "so", "\n", "</", "r>\n", "\n", "a", "", "", "",
    ]  # fmt: skip


def test_shown_tokens_have_bytes_here():
    tokens = [b"a", b"", b"b"]
    assert assemble(tokens, [], shown=[(1, "[é]".encode())])[:2] == ("a[é]b", False)
    assert assemble(tokens, ["]b"], shown=[(1, b"[X]")])[:2] == ("a[X", True)
    assert assemble(tokens, [])[0] == "ab"


def test_bad_arguments():
    table = _core.TokenBytes([b"a"])
    with pytest.raises(InvalidRequest, match="a stop string is empty"):
        _core.TextAssembler(table, rules([""]))
    with pytest.raises(InvalidRequest, match="a reasoning marker is empty"):
        _core.TextAssembler(table, rules([], open=""))
    with pytest.raises(InvalidRequest, match="token id 1 is outside the vocabulary of 1"):
        _core.TextAssembler(table, rules([], shown=[(1, b"x")]))
    with pytest.raises(InvalidRequest, match="token id 1 is outside the vocabulary of 1"):
        _core.TextAssembler(table, rules([])).push(1)
