"""Input of calls that is still being written."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jiter import from_json

from kvtape.protocols.anthropic.tool_input import EscapeMender, close_json

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.text(), VALUES, max_size=4)


@settings(deadline=None)
@given(OBJECTS, st.sampled_from([None, 2]), st.booleans(), st.data())
def test_it_is_what_the_published_client_shows(value, indent, ascii_only, data):
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    assert json.loads(close_json(text)) == value
    cut = text[: data.draw(st.integers(1, len(text)))]
    assert json.loads(close_json(cut)) == from_json(cut.encode(), partial_mode=True)


@pytest.mark.parametrize(
    ("text", "closed"),
    [
        ("", "{}"),
        ('{"a', "{}"),
        ('{"a": "x', "{}"),
        ('{"a": 12', '{"a": 12}'),
        ('{"a": 12.', "{}"),
        ('{"a": "b", "c"', '{"a": "b"}'),
        ('{"a": [1, {"b": null, "c": tr', '{"a": [1, {"b": null}]}'),
        ('{"a": {"b": [', '{"a": {"b": []}}'),
        ('{ "a" : 1 }', '{ "a" : 1 }'),
        (r'{"a": "\"}{", "b": 1', r'{"a": "\"}{", "b": 1}'),
    ],
)
def test_only_what_is_whole_is_kept(text, closed):
    assert close_json(text) == closed


def mended(text, cuts=()):
    mender = EscapeMender()
    bounds = [0, *sorted({cut for cut in cuts if cut < len(text)}), len(text)]
    return "".join(mender.feed(text[start:end]) for start, end in pairwise(bounds))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r'"\ud83d\ude00"', r'"\ud83d\ude00"'),
        (r'"\ud83d"', r'"\ufffd"'),
        (r'"\ude00\ud83d"', r'"\ufffd\ufffd"'),
        (r'"\ud83d\ud83d\ude00"', r'"\ufffd\ud83d\ude00"'),
        (r'"\ud83d\n"', r'"\ufffd\n"'),
        (r'"\\ud83d \" \u00e9"', r'"\\ud83d \" \u00e9"'),
        ('"plain"', '"plain"'),
    ],
)
def test_halves_of_characters_are_replaced(text, expected):
    for cuts in ([], range(1, len(text)), range(2, len(text), 3)):
        assert mended(text, cuts) == expected


@given(st.lists(st.sampled_from(["\\", "u", "d83d", "de00", "00e9", "n", '"', "x"])).map("".join), st.data())
def test_any_cut_is_the_same(text, data):
    assert mended(text, data.draw(st.lists(st.integers(1, 30)))) == mended(text)


@given(st.text(alphabet=st.characters(codec=None)))
def test_json_stays_json_and_becomes_text(text):
    value = json.loads(mended(json.dumps(text)))
    value.encode()
    assert value == text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") or "\ufffd" in value
