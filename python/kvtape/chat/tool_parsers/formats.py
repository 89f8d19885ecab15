"""The formats that say everything in JSON."""

from __future__ import annotations

from typing import ClassVar

from kvtape.chat.tool_parsers.base import ToolParser

__all__ = ["Hermes", "PlainJson", "QwenCoder"]


class Hermes(ToolParser):
    """`<tool_call>{"name": ..., "arguments": {...}}</tool_call>`, as Hermes, Qwen, SmolLM2 and Granite write it.

    The closing tag may be missing, and an array may hold several calls.
    """

    tags: ClassVar[dict[str, str]] = {"<tool_call>": "</tool_call>"}


class QwenCoder(ToolParser):
    """What Qwen2.5 writes where it was asked for `<tool_call>`.

    The Coder models mostly answer with a fenced block of JSON or a bare object, or take the `<tools>` that their prompt
    lists the tools in.
    """

    tags: ClassVar[dict[str, str]] = {"<tool_call>": "</tool_call>", "<tools>": "</tools>"}
    bare: ClassVar[bool] = True


class PlainJson(ToolParser):
    """A bare or fenced object, or an array of objects, at the start of a line."""

    bare: ClassVar[bool] = True
