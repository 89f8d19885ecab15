"""Which parser reads a model's calls."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from kvtape.chat.reasoning import ReasoningMarkers
from kvtape.chat.tool_parsers.base import ToolParser
from kvtape.chat.tool_parsers.formats import Hermes, PlainJson, QwenCoder
from kvtape.chat.tool_parsers.llama import Llama
from kvtape.chat.tool_parsers.mistral import Mistral
from kvtape.errors import InvalidRequest

if TYPE_CHECKING:
    from kvtape.model.load import Model

__all__ = ["TOOL_PARSERS", "choose_tool_parser", "make_tool_parser", "shown_tokens"]

TOOL_PARSERS: dict[str, type[ToolParser]] = {
    "hermes": Hermes,
    "qwen_coder": QwenCoder,
    "llama": Llama,
    "mistral": Mistral,
    "json": PlainJson,
}

# Marks in the text of a chat template, in order of precedence, and the parser of what such a model writes. None: calls
# in a form that no parser here reads.
_MARKS: tuple[tuple[tuple[str, ...], str | None], ...] = (
    (("<function=",), None),
    (("<arg_key>",), None),
    (("<invoke",), None),
    (("[TOOL_CALLS]",), "mistral"),
    (("<|python_tag|>",), "llama"),
    (("<|start_header_id|>", '"parameters": '), "llama"),
    (("<tool_call>", "<think>"), "hermes"),
    (("<tool_call>", "You are Qwen"), "qwen_coder"),
    (("<tool_call>",), "hermes"),
    (("tools",), None),
    (("tool_calls",), None),
    (("<|im_start|>",), "hermes"),
)


def choose_tool_parser(template: str) -> str | None:
    """Return the name of the parser for a model with this chat template; None where its calls are in no known form.

    A template that says nothing of tools gets the parser of its family; its prompt must ask for that form.
    """
    return next((name for marks, name in _MARKS if all(mark in template for mark in marks)), "json")


def shown_tokens(model: Model, format_name: str | None, markers: ReasoningMarkers | None) -> tuple[int, ...]:
    """Return the control tokens of a model that a reply must show to be taken apart: markers of calls and reasoning.

    Args:
        model: whose vocabulary decides; in most, the markers are tokens that have a text anyway.
        format_name: how calls are written, a key of `TOOL_PARSERS`; None: there are none.
        markers: of the reasoning; None: there is none.
    """
    texts: set[str] = set()
    if format_name is not None:
        parser = TOOL_PARSERS[format_name]
        texts.update(parser.tags, parser.tags.values(), parser.inner_marks)
    if markers is not None:
        texts.update((markers.open, markers.close))
    known = model.tokenizer.special_tokens
    return tuple(sorted(known[text] for text in texts & known.keys()))


def make_tool_parser(name: str, names: Collection[str] | None = None) -> ToolParser:
    """Make the parser called `name` for one reply that may call the tools `names`; None: any.

    Raises:
        InvalidRequest: there is no such parser.
    """
    if name not in TOOL_PARSERS:
        raise InvalidRequest(f"no tool parser is called {name!r:.80}; there are {', '.join(TOOL_PARSERS)}")
    return TOOL_PARSERS[name](names)
