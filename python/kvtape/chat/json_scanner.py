"""Where a JSON value ends, found while it is still being written."""

from __future__ import annotations

import re

__all__ = ["BLANK", "MAX_DEPTH", "JsonScanner", "is_plain_text"]

BLANK = " \t\r\n"
MAX_DEPTH = 256  # what is nested deeper cannot stand: most parsers refuse it, too

_plain_text = re.compile(r'[^"\\\x00-\x1f]*')  # text that cannot end a string, nor begin an escape
_match_text = _plain_text.match
is_plain_text = _plain_text.fullmatch


def _transitions() -> dict[str, dict[str, str]]:
    """State -> character -> state. Plain text of strings, commas and brackets are `scan`'s own."""
    digits, exponent = "0123456789", dict.fromkeys("eE", "e")
    number = {"-": "-", "0": "zero", **dict.fromkeys("123456789", "integer")}
    value = {'"': "string", **number}
    table = {
        "value": value,
        "first value": value,
        "key": {'"': "string"},
        "first key": {'"': "string"},
        "colon": {":": "value"},
        "after": {},
        "escape": {**dict.fromkeys('"\\/bfnrt', "string"), "u": "hex4"},
        "-": {"0": "zero", **dict.fromkeys("123456789", "integer")},
        "zero": {".": ".", **exponent},
        "integer": {**dict.fromkeys(digits, "integer"), ".": ".", **exponent},
        ".": dict.fromkeys(digits, "fraction"),
        "fraction": {**dict.fromkeys(digits, "fraction"), **exponent},
        "e": {**dict.fromkeys("+-", "sign"), **dict.fromkeys(digits, "exponent")},
        "sign": dict.fromkeys(digits, "exponent"),
        "exponent": dict.fromkeys(digits, "exponent"),
    }
    for n_left, after in enumerate(("string", "hex1", "hex2", "hex3"), start=1):
        table[f"hex{n_left}"] = dict.fromkeys("0123456789abcdefABCDEF", after)
    for word in ("true", "false", "null"):
        value[word[0]] = word[:1]
        for n_read in range(1, len(word)):
            table[word[:n_read]] = {word[n_read]: word[: n_read + 1]}
    return table


_TABLE = _transitions()
_WORDS = frozenset({"true", "false", "null"})
_NUMBERS = frozenset({"zero", "integer", "fraction", "exponent"})  # where a number may end
_KEYS = frozenset({"key", "first key"})
_VALUES = frozenset({"value", "first value"})
_BLANKS = frozenset({"colon", "after", *_KEYS, *_VALUES})  # where blanks may stand


class JsonScanner:
    """Reads one JSON value, each character once, in pieces of any size.

    Strict: what it takes for a value, `json.loads` takes too. It keeps one character for each open bracket.

    Attributes:
        done: the value is complete.
    """

    __slots__ = ("_closers", "_is_key", "_state", "done")

    def __init__(self, *, inside: str = "") -> None:
        """Begin before a value, or behind a value in containers: `inside` holds their closing brackets, outermost
        first.
        """
        self._closers = list(inside)
        self._state = "after" if inside else "value"
        self._is_key = False
        self.done = False

    @property
    def inside(self) -> str:
        """Closing brackets of the open containers, outermost first."""
        return "".join(self._closers)

    @property
    def in_string(self) -> bool:
        """Whether the next character is plain text of a string, or ends it."""
        return self._state == "string"

    @property
    def wants_value(self) -> bool:
        """Whether the next character may begin a value."""
        return self._state in _VALUES

    def scan(self, text: str, start: int = 0) -> int:
        """Read on from `start` and return where reading stopped.

        That is the end of the text, or behind the value (`done`), or a character that may not stand there. A number
        is done at the character behind it, which is not read.
        """
        at, end = start, len(text)
        while at < end and not self.done:
            state = self._state
            if state == "string":
                found = _match_text(text, at)
                assert found is not None
                at = found.end()
                if at == end:
                    break
                if text[at] == '"':
                    self._end_string()
                elif text[at] == "\\":
                    self._state = "escape"
                else:
                    break  # a control character
                at += 1
                continue
            char = text[at]
            following = _TABLE[state].get(char)
            if following is not None:
                self._is_key = self._is_key or state in _KEYS
                self._state = following
                if following in _WORDS:
                    self._end_value()
            elif state in _NUMBERS:
                self._end_value()
                continue
            elif not (char in BLANK and state in _BLANKS) and not self._structure(state, char):
                break
            at += 1
        return at

    def _structure(self, state: str, char: str) -> bool:
        """Take a bracket or a comma; False where it may not stand."""
        if state in _VALUES and char in "{[" and len(self._closers) < MAX_DEPTH:
            self._closers.append("}" if char == "{" else "]")
            self._state = "first key" if char == "{" else "first value"
        elif state == "after" and char == ",":
            self._state = "key" if self._closers[-1] == "}" else "value"
        elif state in ("after", "first key", "first value") and self._closers and char == self._closers[-1]:
            self._closers.pop()
            self._end_value()
        else:
            return False
        return True

    def _end_string(self) -> None:
        if self._is_key:
            self._is_key = False
            self._state = "colon"
        else:
            self._end_value()

    def _end_value(self) -> None:
        self._state = "after"
        self.done = not self._closers
