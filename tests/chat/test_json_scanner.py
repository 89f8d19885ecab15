"""The scanner against the parser of the standard library."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvtape.chat.json_scanner import MAX_DEPTH, JsonScanner, is_plain_text

TEXT = st.text(max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
# Mostly JSON's own characters, so that nearly valid text is common.
GARBAGE = st.text(alphabet='{}[]",:\\u0123eE+-.tfn rualse\n\x01é', max_size=12)


def scan(text: str, cuts: list[int]) -> tuple[int, bool, str]:
    """Scan text in pieces; return where it stopped, whether it was done, and what was open."""
    scanner, at = JsonScanner(), 0
    for end in [*sorted({cut for cut in cuts if 0 < cut < len(text)}), len(text)]:
        at += scanner.scan(text[at:end])
        if at < end:
            break
    return at, scanner.done, scanner.inside


@settings(deadline=None)
@given(VALUES, st.sampled_from([None, 1, "\t"]), st.booleans(), st.lists(st.integers(1, 200)))
def test_a_value_ends_where_it_ends(value, indent, ascii_only, cuts):
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    behind = " }"
    assert scan(text + behind, cuts) == (len(text), True, "")


@settings(deadline=None)
@given(GARBAGE, st.lists(st.integers(1, 12)))
def test_what_is_done_is_json_and_json_is_taken_whole(text, cuts):
    at, done, _ = scan(text, cuts)
    assert (at, done) == scan(text, [])[:2]
    if done:
        json.loads(text[:at])
    try:
        json.loads(text)
    except ValueError:
        return
    ended = text.rstrip(" \n\t\r")
    assert at >= len(ended), "all of it may stand"
    scanner = JsonScanner()
    scanner.scan(f"[{text}]")
    assert scanner.done


@settings(deadline=None)
@given(st.dictionaries(TEXT, VALUES, max_size=3))
def test_no_proper_beginning_of_an_object_is_done(value):
    text = json.dumps(value)
    for end in range(len(text)):
        assert scan(text[:end], [])[:2] == (end, False)


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ('{"a":}', 5),
        ("[1,]", 3),
        ("[01]", 2),
        ("{a:1}", 1),
        ('{"a" 1}', 5),
        ("[1 2]", 3),
        ('["\n"]', 2),
        (r'["\x"]', 3),
        (r'["\u12g4"]', 6),
        ("[}", 1),
        ("[tru]", 4),
        ("[1.]", 3),
        ("[-]", 2),
        ("[1e]", 3),
        ("NaN", 0),
        ("]", 0),
    ],
)
def test_stops_at_what_cannot_stand(text, at):
    assert scan(text, [])[:2] == (at, False)


def test_depth_is_bounded():
    assert scan("[" * MAX_DEPTH + "]" * MAX_DEPTH, [])[:2] == (2 * MAX_DEPTH, True)
    assert scan("[" * (MAX_DEPTH + 1), [])[0] == MAX_DEPTH


def test_goes_on_inside_of_containers():
    scanner = JsonScanner(inside="]}")  # an object in an array
    assert scanner.scan(', "id": {"x": [1]}}') == 19
    assert scanner.inside == "]"
    assert not scanner.wants_value
    scanner.scan(", ")
    assert scanner.wants_value
    assert scanner.scan("{}] ") == 3
    assert scanner.done


def test_wants_value_where_one_may_begin():
    scanner, wanted = JsonScanner(), ""
    for char in '{"a": [1, [] ]}':
        wanted += "^" if scanner.wants_value else " "
        scanner.scan(char)
    assert wanted == "^    ^^^ ^^^   "


def test_in_string_says_where_plain_text_passes():
    scanner = JsonScanner()
    scanner.scan('{"a')
    assert scanner.in_string
    scanner.scan("\\")
    assert not scanner.in_string
    scanner.scan('"b')
    assert scanner.in_string
    assert is_plain_text("é {}</tool_call>")
    assert not is_plain_text('a"')
    assert not is_plain_text("\n")
