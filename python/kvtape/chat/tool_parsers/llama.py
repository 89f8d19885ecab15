"""Llama 3: bare JSON, or a call behind `<|python_tag|>`."""

from __future__ import annotations

import json
from typing import ClassVar

from kvtape.chat.json_scanner import BLANK, JsonScanner
from kvtape.chat.tool_parsers.base import ToolParser
from kvtape.chat.tool_parsers.openings import Opening, Reading, calls, skip_blanks

__all__ = ["KeywordArguments", "Llama"]

_WORDS = {"True": "true", "False": "false", "None": "null"}
_MAX_KEY = 256


class Llama(ToolParser):
    """`{"name": ..., "parameters": {...}}`, also behind `<|python_tag|>`, or `<|python_tag|>name.call(key="value")`.

    Several calls are separated by semicolons.
    """

    tags: ClassVar[dict[str, str]] = {"<|python_tag|>": ""}
    bare: ClassVar[bool] = True

    def _read_group(self, close: str) -> Reading[Opening | None]:
        char = yield from skip_blanks()
        if char in "{[":
            return (yield from calls(char, self._names, close=close))
        name = ""
        while char != "(":
            name += char
            if char in BLANK or len(name) > self._names.max_len + len(".call"):
                return None
            char = yield
        short = name.removesuffix(".call")
        name = short if short in self._names else name
        yield
        return Opening(name=name, reader=KeywordArguments()) if name in self._names else None


class KeywordArguments:
    """Arguments as in Python, `key=value, ...)`, passed on as a JSON object.

    A value is JSON, a string in either kind of quotes, or one of the words True, False and None.
    """

    in_string = False  # each character is looked at

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._converting = self._convert()
        next(self._converting)
        self.held = ""  # a key or word that nothing in Python is
        self.done = False

    def read(self, text: str, start: int) -> tuple[str, int]:
        """Read on from `start`; return the text to pass on, and where it stopped."""
        at = start
        try:
            while at < len(text):
                self._converting.send(text[at])
                at += 1
        except StopIteration as result:
            self.done = result.value
            at += self.done
        piece = "".join(self._pieces)
        self._pieces.clear()
        return piece, at

    def _convert(self) -> Reading[bool]:
        """Read up to the closing bracket; False when the character looked at cannot stand there."""
        before = "{"
        char = yield from skip_blanks()
        while char != ")":
            key = ""
            while (char.isalnum() or char == "_") and len(key) < _MAX_KEY:
                key += char
                char = yield
            if char in BLANK:
                char = yield from skip_blanks()
            if not key or char != "=":
                self.held = key
                return False
            self._pieces.append(f"{before}{json.dumps(key, ensure_ascii=False)}: ")
            before = ", "
            behind = yield from self._value((yield from skip_blanks()))
            if behind is None:
                return False
            char = (yield from skip_blanks()) if behind in BLANK else behind
            if char == ",":
                char = yield from skip_blanks()
            elif char != ")":
                return False
        self._pieces.append("{}" if before == "{" else "}")
        return True

    def _value(self, char: str) -> Reading[str | None]:
        """Read a value from `char` on and look at the character behind it; None at one that cannot stand there."""
        if char in "'\"":
            return (yield from self._string(char))
        word = ""
        while char.isalpha() and any(known.startswith(word + char) for known in _WORDS):
            word += char
            char = yield
        if word in _WORDS:
            self._pieces.append(_WORDS[word])
            return char
        if word:
            self.held = word
            return None
        scanner = JsonScanner()
        while scanner.scan(char):
            self._pieces.append(char)
            char = yield
            if scanner.done:
                break
        return char if scanner.done else None

    def _string(self, quote: str) -> Reading[str | None]:
        """Read a string whose quote has been read, and look at the character behind it."""
        self._pieces.append('"')
        while (char := (yield)) != quote:
            if char != "\\":
                self._pieces.append(_escaped(char))
                continue
            char = yield
            self._pieces.append("\\" + char if char in '"\\/bfnrtu' else _escaped(char if char in "'" else "\\" + char))
            for _ in range(4 if char == "u" else 0):
                char = yield
                if char not in "0123456789abcdefABCDEF":
                    return None
                self._pieces.append(char)
        self._pieces.append('"')
        return (yield)


def _escaped(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]
