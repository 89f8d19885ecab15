"""How a call begins: readers that take one character at a time, until it is certain whether there is a call.

Each is a generator: it yields to be sent the next character, and returns as soon as the outcome is known. What it was
sent is held back meanwhile; the last character is not part of the outcome where the docstring says "looked at".
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Generator
from dataclasses import dataclass, replace
from typing import TypeVar

from kvtape.chat.json_scanner import BLANK, JsonScanner
from kvtape.chat.tool_parsers.arguments import ArgumentReader, EncodedArguments, PlainArguments

__all__ = ["CLOSED", "Closed", "Names", "Opening", "Reading", "call_object", "calls", "literal", "skip_blanks"]

T = TypeVar("T")
Reading = Generator[None, str, T]

_MAX_NAME = 256
_SURROGATE = re.compile("[\ud800-\udfff]")  # half a character, which is no text
_ARGUMENT_KEYS = frozenset({"arguments", "parameters"})
_KEYS = frozenset({"name", "type", "id", "function", *_ARGUMENT_KEYS})


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """A call has begun, and the character that was looked at is the first behind the opening.

    That is the first of the arguments, which `reader` reads; or, where the arguments are known already, one behind
    them.
    """

    name: str
    reader: ArgumentReader | None = None
    arguments: str = ""
    inside: str = ""  # closing brackets of what is open around the arguments, outermost first
    close: str = ""  # marker that ends the group of calls; empty where there is none


class Closed:
    """The group of calls has ended."""


CLOSED = Closed()


class Names:
    """The tools that may be called."""

    def __init__(self, names: Collection[str] | None) -> None:
        self._names = None if names is None else frozenset(names)
        self.max_len = max(map(len, self._names), default=0) if self._names is not None else _MAX_NAME

    def __contains__(self, name: str) -> bool:
        if self._names is None:
            return 0 < len(name) <= self.max_len and name.isprintable()
        return name in self._names


def skip_blanks(blanks: str = BLANK) -> Reading[str]:
    """Look at the next character that is no blank."""
    while (char := (yield)) in blanks:
        pass
    return char


def literal(read: str, *choices: str) -> Reading[str | None]:
    """Read one of `choices`, of which `read` has been read; None when the character looked at fits none."""
    while read not in choices:
        read += yield
        if not any(choice.startswith(read) for choice in choices):
            return None
    return read


def calls(char: str, names: Names, *, close: str = "", loose: bool = False) -> Reading[Opening | None]:
    """Read a call object, or the first of an array of them, from `char` on."""
    inside = ""
    if char == "[":
        char, inside = (yield from skip_blanks()), "]"
    if char != "{":
        return None
    return (yield from call_object(names, inside=inside, close=close, loose=loose))


def call_object(names: Names, *, inside: str = "", close: str = "", loose: bool = False) -> Reading[Opening | None]:
    """Read a call object up to its arguments; its `{` has been read.

    Members may come in any order, and an object under `function` may hold name and arguments. A `loose` object has no
    marker around it: it may hold nothing else, and must have arguments. What has a description is the tool itself,
    repeated from the prompt.
    """
    opening = Opening(name="", inside=inside + "}", close=close)
    raw_arguments = None
    char = yield from skip_blanks()
    while char == '"':
        key = yield from _string(_MAX_NAME)
        if key is None or key == "description" or (loose and key not in _KEYS) or (yield from skip_blanks()) != ":":
            return None
        char = yield from skip_blanks()
        if key == "function" and char == "{" and opening.inside == inside + "}":
            opening = replace(opening, inside=opening.inside + "}")
            char = yield from skip_blanks()
            continue
        if key in ("name", "function") and char == '"':
            name = yield from _string(names.max_len)
            if name is None or name not in names:
                return None
            opening = replace(opening, name=name)
            char = yield from skip_blanks()
        elif key in _ARGUMENT_KEYS and opening.name and char == "{":
            return replace(opening, reader=PlainArguments())
        elif key in _ARGUMENT_KEYS and opening.name and char == '"':
            return (yield from _encoded_arguments(opening))
        else:
            found = yield from _value(char)
            if found is None:
                return None
            raw, char = found
            raw_arguments = raw if key in _ARGUMENT_KEYS else raw_arguments
        if opening.name and raw_arguments is not None:
            arguments = _whole_arguments(raw_arguments)
            return None if arguments is None else replace(opening, arguments=arguments)
        if char == ",":
            char = yield from skip_blanks()
        elif char == "}" and opening.name and not loose:
            return replace(opening, arguments="{}")
        else:
            return None
    return None


def _encoded_arguments(opening: Opening) -> Reading[Opening | None]:
    """Read the beginning of a JSON string that holds the arguments, up to their `{`; its quote has been read."""
    while True:
        char = yield
        if char == "{":
            return replace(opening, reader=EncodedArguments())
        if char == "\\":
            char = yield
            if char not in "ntr":
                return None
        elif char not in BLANK:
            return None


def _whole_arguments(raw: str) -> str | None:
    """Return the arguments that a JSON value gives: an object, null for none, or a string that holds an object."""
    text = json.loads(raw).strip(BLANK) if raw.startswith('"') else raw
    if text == "null":
        return "{}"
    scanner = JsonScanner()
    whole = text.startswith("{") and scanner.scan(text) == len(text) and scanner.done
    return text if whole and not _SURROGATE.search(text) else None


def _string(max_len: int) -> Reading[str | None]:
    """Read the rest of a JSON string and return what it spells; None where it is none, or is longer than `max_len`."""
    scanner, raw = JsonScanner(), '"'
    scanner.scan(raw)
    while not scanner.done:
        char = yield
        if not scanner.scan(char) or len(raw) > 6 * max_len + 1:  # an escape has six characters
            return None
        raw += char
    text: str = json.loads(raw)
    return text


def _value(char: str) -> Reading[tuple[str, str] | None]:
    """Read a JSON value from `char` on; return it with the character looked at behind it."""
    scanner, pieces = JsonScanner(), list[str]()
    while scanner.scan(char):
        pieces.append(char)
        char = yield
        if scanner.done:
            break
    if not scanner.done:
        return None
    while char in BLANK:
        char = yield
    return "".join(pieces), char
