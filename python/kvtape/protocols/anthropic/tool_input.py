"""The input of a call while it is being written: JSON that clients can read at any point."""

from __future__ import annotations

import re

__all__ = ["EscapeMender", "close_json"]

_HEX = "[0-9a-fA-F]"
_HIGH, _LOW = f"[dD][89abAB]{_HEX}{{2}}", f"[dD][c-fC-F]{_HEX}{{2}}"
_escapes = re.compile(
    rf"(?P<tail>\\(?:u(?:{_HEX}{{0,3}}|{_HIGH}(?:\\(?:u{_HEX}{{0,3}})?)?))?\Z)"  # nobody knows yet what it will be
    rf"|\\u{_HIGH}\\u{_LOW}|(?P<half>\\u(?:{_HIGH}|{_LOW}))|\\."
)

# Whole values, brackets and what stands between them. A number is whole when nothing of it can follow, or nothing does.
_match_token = re.compile(
    r'(?P<string>"(?:[^"\\]|\\.)*")'
    r"|(?:true|false|null|-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)(?=[\s,\]}]|\Z)"
    r"|[{}\[\]:,]|\s+"
).match


class EscapeMender:
    """Replaces escaped halves of characters in JSON text that comes in pieces: many parsers refuse them.

    Held back is the beginning of an escape, or of the two that make a character.
    """

    def __init__(self) -> None:
        self._held = ""

    def feed(self, text: str) -> str:
        """Read more and return what is certain."""
        if not self._held and "\\" not in text:
            return text
        text, self._held = self._held + text, ""
        return _escapes.sub(self._mend, text)

    def _mend(self, found: re.Match[str]) -> str:
        if found["tail"]:
            self._held = found["tail"]
            return ""
        return r"\ufffd" if found["half"] else found[0]


def close_json(text: str) -> str:
    """Return an object of which `text` is the beginning, with the values in it that are whole."""
    closers = before = ""
    end, closing, at = 0, "{}", 0
    while (found := _match_token(text, at)) is not None:
        at, token = found.end(), found[0]
        if token.isspace():
            continue
        if token in ",:" or (found["string"] and closers[:1] == "}" and before != ":"):  # or a key
            before = token
            continue
        if token in "{[":
            closers = ("}" if token == "{" else "]") + closers
        elif token in "}]":
            closers = closers[1:]
        before = token
        end, closing = at, closers
    return text[:end] + closing
