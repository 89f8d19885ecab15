"""How a call begins, read by single characters."""

from __future__ import annotations

import pytest

from kvtape.chat.tool_parsers.arguments import EncodedArguments, PlainArguments
from kvtape.chat.tool_parsers.openings import Names, Opening, Reading, call_object, literal, skip_blanks


def outcome(reading: Reading[object], text: str) -> tuple[object, str]:
    """Return what a reader makes of a text, and what it leaves, the character it looked at included."""
    next(reading)
    for at, char in enumerate(text):
        try:
            reading.send(char)
        except StopIteration as result:
            return result.value, text[at:]
    return "undecided", ""


def opening(text: str, *, loose: bool = False, names: list[str] | None = None) -> tuple[object, str]:
    return outcome(call_object(Names(names), loose=loose), text)


def test_names():
    assert "f" in Names(["f"])
    assert "g" not in Names(["f"])
    assert "anything at all" in Names(None)
    for name in ("", "x" * 257, "a\nb", "\ud800"):
        assert name not in Names(None)
    assert "" not in Names(())


def test_blanks_and_literals():
    assert outcome(skip_blanks(), " \n\tx ") == ("x", "x ")

    def word():
        return (yield from _then_look(literal("<", "<tool>", "<tools>")))

    def _then_look(reading):
        found = yield from reading
        yield
        return found

    assert outcome(word(), "tool> ") == ("<tool>", " ")
    assert outcome(word(), "tools> ") == ("<tools>", " ")
    assert outcome(literal("<", "<tool>"), "top") == (None, "p")


@pytest.mark.parametrize(
    "head", ['"name": "f", ', '\n "name" : "f" , "id": "x", ', '"type": "function", "name": "f", ']
)
def test_arguments_are_looked_at(head):
    found, rest = opening(head + '"arguments": {"a"')
    assert isinstance(found, Opening)
    assert isinstance(found.reader, PlainArguments)
    assert (found.name, found.inside, rest) == ("f", "}", '{"a"')
    found, rest = opening(head + '"parameters": " {\\"a')
    assert isinstance(found.reader, EncodedArguments)
    assert rest == '{\\"a'


def test_what_comes_first_is_kept():
    assert opening('"arguments": {"a": 1}, "name": "f"}') == (
        Opening(name="f", arguments='{"a": 1}', inside="}"),
        "}",
    )
    assert opening('"arguments": "{\\"a\\": 1} ", "name": "f"}')[0].arguments == '{"a": 1}'
    assert opening('"arguments": null, "name": "f"}')[0].arguments == "{}"
    for value in ("[]", "1", '"x"', '"{"', '"{\\"a\\": \\"\\\\ud83d\\"} x"', '"{\\"\\ud800\\": 1}"'):
        assert opening(f'"arguments": {value}, "name": "f"}}')[0] is None


def test_a_function_may_hold_name_and_arguments():
    found, _ = opening('"type": "function", "function": {"name": "f", "arguments": {')
    assert (found.name, found.inside) == ("f", "}}")
    assert opening('"function": {"function": {"name": "f", "arguments": {}}}}')[0] is None


def test_what_is_loose_is_strict():
    assert opening('"thought": [1, {"a": "}"}], "name": "f", "arguments": {')[0].name == "f"
    assert opening('"thought": 1, "name": "f", "arguments": {', loose=True) == (
        None,
        '": 1, "name": "f", "arguments": {',
    )
    assert opening('"name": "f"}')[0].arguments == "{}"
    assert opening('"name": "f"}', loose=True)[0] is None


@pytest.mark.parametrize(
    "text",
    [
        '"name": "g"',
        '"name": 1}',
        '"name" "f"',
        "name",
        '"name": "f"; ',
        '"a": tru,',
        '"a": "\n"',
        '{"name"',
        "}",
        '"name": "' + "x" * 99,
    ],
)
def test_the_rest_is_no_call(text):
    assert opening(text + "    ", names=["f"])[0] is None
