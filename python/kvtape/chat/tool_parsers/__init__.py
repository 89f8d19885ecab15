"""Tool calls in the text of a reply: one parser for each form that models write them in."""

from kvtape.chat.tool_parsers.base import ToolParser
from kvtape.chat.tool_parsers.choose import TOOL_PARSERS, choose_tool_parser, make_tool_parser, shown_tokens

__all__ = ["TOOL_PARSERS", "ToolParser", "choose_tool_parser", "make_tool_parser", "shown_tokens"]
