"""A chat request, whatever dialect it came in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from kvtape.types.sampling import Constraint

__all__ = ["MAX_TOOLS", "ChatPrompt", "Thinking", "Tool", "ToolChoice", "ToolMode"]


MAX_TOOLS = 128  # of a request, each of whose schemas may have to be compiled


@dataclass(frozen=True, slots=True)
class Tool:
    """A function the model may call."""

    name: str
    description: str = ""
    parameters: Mapping[str, Any] | None = None  # JSON Schema of its arguments, an object; None: takes none
    strict: bool = False  # the arguments of each call must match the schema; else they should


class ToolMode(StrEnum):
    """Whether a reply calls tools."""

    AUTO = "auto"  # the model decides
    NONE = "none"  # it does not
    REQUIRED = "required"  # it does; the reply is one or more calls and nothing else


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """What a request says about calls."""

    mode: ToolMode = ToolMode.AUTO
    names: tuple[str, ...] = ()  # the only tools that may be called; empty: all
    parallel: bool = True  # whether one reply may call more than once
    constrained: bool = False  # whether calls are held to their form, and to their schemas where these can be enforced


@dataclass(frozen=True, slots=True)
class Thinking:
    """What a request says about reasoning, for models that know how."""

    enabled: bool | None = None  # None: as the model's template has it
    budget: int | None = None  # tokens, after which the reasoning is closed by force; None: no limit


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatPrompt:
    """What a model is asked to reply to.

    A message is a mapping of `role` ("system", "user", "assistant" or "tool") and `content`, a string. The assistant's
    may have `reasoning_content`, a string, and `tool_calls`, a list of `{"id", "type": "function", "function": {"name",
    "arguments"}}` with the arguments as JSON text. A tool's has `tool_call_id`, and `name` where it is known.
    """

    messages: list[dict[str, Any]]
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice = ToolChoice()
    thinking: Thinking = Thinking()
    answer: Constraint | None = None  # what the answer must match, its reasoning apart
    prefill: str = ""  # how the reply has begun already
    template_options: dict[str, Any] = field(default_factory=dict)  # further variables of the chat template
