"""The arguments of a call that has begun: the model's own text, up to where the JSON object ends."""

from __future__ import annotations

import json
import re
from typing import Protocol

from kvtape.chat.json_scanner import BLANK, JsonScanner

__all__ = ["ArgumentReader", "EncodedArguments", "PlainArguments"]

_verbatim = re.compile(r'[^"\\]*').match
_whole_escape = re.compile(
    r'\\(?:["\\/bfnrt]|u(?![dD][89a-fA-F])[0-9a-fA-F]{4}|u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})'
).fullmatch
_partial_escape = re.compile(
    r"\\(?:u(?:[0-9a-fA-F]{0,3}|[dD][89abAB][0-9a-fA-F]{2}(?:\\(?:u[0-9a-fA-F]{0,3})?)?))?"
).fullmatch


class ArgumentReader(Protocol):
    """Reads arguments in pieces of any size."""

    @property
    def done(self) -> bool:
        """Whether the arguments are complete."""
        ...

    @property
    def in_string(self) -> bool:
        """Whether text without quotes, backslashes and control characters is passed on as it stands."""
        ...

    @property
    def held(self) -> str:
        """What has been read and not been passed on, at its end or where it stopped."""
        ...

    def read(self, text: str, start: int) -> tuple[str, int]:
        """Read on from `start`; return what that adds to the arguments, and where it stopped.

        It stops at the end of the text, behind the arguments (`done`), or at a character that makes them no JSON.
        """
        ...


class PlainArguments(JsonScanner):
    """A JSON object, passed on as it stands, but for control characters in its strings.

    JSON wants those escaped, and models that write code into a string often do not; what is meant is certain.
    """

    __slots__ = ()

    @property
    def held(self) -> str:
        """Nothing: each character is passed on as it is read."""
        return ""

    def read(self, text: str, start: int) -> tuple[str, int]:
        """Read on from `start`; return the text to pass on, and where it stopped."""
        at = self.scan(text, start)
        if at == len(text) or not self.in_string:
            return text[start:at], at
        pieces = [text[start:at]]
        while at < len(text) and self.in_string:  # at a control character
            pieces.append(json.dumps(text[at])[1:-1])
            start = at + 1
            at = self.scan(text, start)
            pieces.append(text[start:at])
        return "".join(pieces), at


class EncodedArguments:
    """The rest of a JSON string that holds a JSON object, which is passed on unwrapped."""

    def __init__(self) -> None:
        self._inner = PlainArguments()
        self.held = ""  # what has been read of an escape
        self.done = False

    @property
    def in_string(self) -> bool:
        """Whether plain text is passed on as it stands."""
        return not self.held and self._inner.in_string

    def read(self, text: str, start: int) -> tuple[str, int]:
        """Read on from `start`; return the text to pass on, and where it stopped."""
        pieces: list[str] = []
        at = start
        while at < len(text) and not self.done:
            if not self.held and text[at] == '"':
                if not self._inner.done:
                    break
                self.done = True
                at += 1
            elif self.held or text[at] == "\\":
                escape = self.held + text[at]
                if _whole_escape(escape):
                    piece, n_read = self._unwrap(json.loads(f'"{escape}"'))
                    if not n_read:
                        break
                    pieces.append(piece)
                    escape = ""
                elif not _partial_escape(escape):
                    break
                self.held = escape
                at += 1
            else:
                found = _verbatim(text, at)
                assert found is not None
                piece, n_read = self._unwrap(found.group())
                pieces.append(piece)
                at += n_read
                if at < found.end():
                    break
        return "".join(pieces), at

    def _unwrap(self, text: str) -> tuple[str, int]:
        """Return what the decoded text adds to the object, and how much of it may stand there."""
        piece, at = ("", 0) if self._inner.done else self._inner.read(text, 0)
        if self._inner.done:
            while at < len(text) and text[at] in BLANK:
                at += 1
        return piece, at
