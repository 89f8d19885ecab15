"""Arguments as they stand, and as strings that hold them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvtape.chat.tool_parsers.arguments import EncodedArguments, PlainArguments
from tests.chat.tool_parsers.parsing import ARGUMENTS, DUMPS


def read(reader: PlainArguments | EncodedArguments, text: str, step: int) -> tuple[str, int]:
    """Return what is passed on, and where reading stopped."""
    passed, at = "", 0
    while at < len(text) and not reader.done:
        piece = text[at : at + step]
        more, end = reader.read("#" + piece, 1)
        passed, at = passed + more, at + end - 1
        if end - 1 < len(piece):
            break
    return passed, at


@settings(deadline=None, max_examples=50)
@given(ARGUMENTS, DUMPS, st.integers(1, 50))
def test_an_object_is_passed_on_as_it_stands(value, dump, step):
    text, reader = dump(value), PlainArguments()
    assert read(reader, text + "}", step) == (text, len(text))
    assert reader.done


@settings(deadline=None, max_examples=50)
@given(st.text(alphabet='a\n\t\x00\x1f "\\é'))
def test_control_characters_in_strings_are_escaped(text):
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    for step in (1, 3, 100):
        reader = PlainArguments()
        passed, _ = read(reader, f'{{\n"a": "{escaped}"\t}}', step)
        assert reader.done
        assert json.loads(passed) == {"a": text}
        assert passed.startswith('{\n"a"')


@settings(deadline=None, max_examples=50)
@given(ARGUMENTS, DUMPS, st.booleans(), st.integers(1, 50), st.sampled_from(["", "\n", " "]))
def test_a_string_that_holds_an_object_is_unwrapped(value, dump, ascii_only, step, behind):
    inner = dump(value)
    text, reader = json.dumps(inner + behind, ensure_ascii=ascii_only)[1:], EncodedArguments()
    assert read(reader, text + "}", step) == (inner, len(text))
    assert reader.done


@pytest.mark.parametrize(
    ("text", "passed", "rest"),
    [
        (r'{\"a\": }"', '{"a": ', '}"'),
        (r"{\"a\": \x", '{"a": ', r"\x"),
        (r'{\"a\": \"\ud83dx\"}"', '{"a": "', r"\ud83dx\"}" + '"'),  # half a character
        (r'{\"a\": \"\ude00\"}"', '{"a": "', r"\ude00\"}" + '"'),
        ('{"', "{", '"'),
        (r"{}x", "{}", "x"),
        (r"{}\"", "{}", r"\""),
        (r"{}\n\n", "{}", ""),
    ],
)
def test_a_string_that_holds_none_is_never_done(text, passed, rest):
    for step in (1, 4, 100):
        reader = EncodedArguments()
        found, at = read(reader, text, step)
        assert not reader.done
        assert found == passed
        assert reader.held + text[at:] == rest  # what cannot be read is there for the caller as it stands


def test_an_escape_that_is_cut_is_held():
    reader = EncodedArguments()
    assert read(reader, r"{\"a\": \"\u00", 100) == ('{"a": "', 14)
    assert not reader.in_string
    assert read(reader, "e9", 1) == ("é", 2)
    assert reader.in_string
