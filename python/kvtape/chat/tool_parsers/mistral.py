"""Mistral: calls behind `[TOOL_CALLS]`."""

from __future__ import annotations

from typing import ClassVar

from kvtape.chat.json_scanner import BLANK
from kvtape.chat.tool_parsers.arguments import PlainArguments
from kvtape.chat.tool_parsers.base import ToolParser
from kvtape.chat.tool_parsers.openings import Opening, Reading, calls, literal, skip_blanks

__all__ = ["Mistral"]

_MAX_ID = 64


class Mistral(ToolParser):
    """`[TOOL_CALLS] [{"name": ..., "arguments": {...}}]`, or `[TOOL_CALLS]name[ARGS]{...}` of the newer models.

    The newer ones repeat the marker for each call, may put `[CALL_ID]id` behind the name, and some leave `[ARGS]` out.
    """

    tags: ClassVar[dict[str, str]] = {"[TOOL_CALLS]": ""}
    inner_marks: ClassVar[tuple[str, ...]] = ("[ARGS]", "[CALL_ID]")

    def _read_group(self, close: str) -> Reading[Opening | None]:
        char = yield from skip_blanks()
        if char in "[{":
            return (yield from calls(char, self._names, close=close))
        name = ""
        while char not in "[{" + BLANK and len(name) <= self._names.max_len:
            name += char
            char = yield
        if name not in self._names:
            return None
        char = (yield from skip_blanks()) if char in BLANK else char
        if char == "[":
            marker = yield from literal(char, *self.inner_marks)
            if marker == "[CALL_ID]":
                n_read = 0
                while (char := (yield)) != "[" and n_read < _MAX_ID:
                    n_read += 1
                marker = yield from literal(char, "[ARGS]")
            if marker is None:
                return None
            char = yield from skip_blanks()
        return Opening(name=name, reader=PlainArguments()) if char == "{" else None
