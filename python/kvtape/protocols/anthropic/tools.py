"""Tools and the choice among them: from the wire to what every dialect shares."""

from __future__ import annotations

import re
from collections.abc import Sequence

from kvtape.errors import InvalidRequest
from kvtape.protocols.anthropic.models import ToolChoiceInput, ToolInput
from kvtape.protocols.requests import LATER, refuse_unless
from kvtape.types import MAX_TOOLS, Tool, ToolChoice, ToolMode

__all__ = ["read_tool_choice", "read_tools"]

_is_name = re.compile(r"[a-zA-Z0-9_-]{1,128}").fullmatch
_MODES = {"auto": ToolMode.AUTO, "none": ToolMode.NONE, "any": ToolMode.REQUIRED, "tool": ToolMode.REQUIRED}


def read_tools(inputs: Sequence[ToolInput] | None) -> tuple[Tool, ...]:
    """Read the tools that a client runs.

    Raises:
        InvalidRequest: too many, a tool that Anthropic defines, a name that is none or not the only one, or no schema
            of an object; `param` is the path.
    """
    inputs = inputs or ()
    if len(inputs) > MAX_TOOLS:
        raise InvalidRequest(f"tools holds {len(inputs)} tools, at most {MAX_TOOLS}", param="tools")
    tools: dict[str, Tool] = {}
    for index, given in enumerate(inputs):
        tool = _read_tool(given, f"tools[{index}]")
        if tool.name in tools:
            raise InvalidRequest(
                f"tools[{index}].name: tool names must be unique, found {tool.name!r} again",
                param=f"tools[{index}].name",
            )
        tools[tool.name] = tool
    return tuple(tools.values())


def _read_tool(tool: ToolInput, path: str) -> Tool:
    refuse_unless(
        tool.type in (None, "custom"),
        f"{path}.type",
        f"must be custom, found {tool.type!r:.60}: what Anthropic defines {LATER}",
    )
    if tool.name is None or not _is_name(tool.name):
        raise InvalidRequest(
            f"{path}.name must be 1 to 128 letters, digits, underscores and hyphens, found {tool.name!r:.160}",
            param=f"{path}.name",
        )
    if tool.input_schema is None:
        raise InvalidRequest(f"{path}.input_schema is required", param=f"{path}.input_schema")
    kind = tool.input_schema.get("type")
    refuse_unless(kind == "object", f"{path}.input_schema.type", f"must be object, found {kind!r:.40}")
    refuse_unless(not tool.defer_loading, f"{path}.defer_loading", LATER)
    refuse_unless(
        not tool.allowed_callers or "direct" in tool.allowed_callers, f"{path}.allowed_callers", "must have direct"
    )
    examples = {"examples": tool.input_examples} if tool.input_examples else {}
    return Tool(
        tool.name, tool.description or "", parameters={**tool.input_schema, **examples}, strict=bool(tool.strict)
    )


def read_tool_choice(choice: ToolChoiceInput | None, tools: Sequence[Tool]) -> ToolChoice:
    """Read what a request says about calls.

    Raises:
        InvalidRequest: a call is wanted and there is nothing to call, or not the tool that is named.
    """
    if choice is None:
        return ToolChoice()
    mode = _MODES[choice.type]
    refuse_unless(mode is not ToolMode.REQUIRED or bool(tools), "tool_choice", "needs tools")
    names: tuple[str, ...] = ()
    if choice.type == "tool":
        refuse_unless(
            any(tool.name == choice.name for tool in tools),
            "tool_choice.name",
            f"must be the name of one of the tools, found {choice.name!r:.160}",
        )
        names = (str(choice.name),)
    return ToolChoice(mode, names, parallel=not choice.disable_parallel_tool_use)
