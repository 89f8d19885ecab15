"""Tools and the choice among them: from the wire to what every dialect shares."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import TypeVar

import msgspec

from kvtape.errors import InvalidRequest
from kvtape.protocols.openai.request_models import (
    AllowedTools,
    ChatRequest,
    FunctionDefinition,
    FunctionName,
    NamedTool,
    ToolChoiceObject,
    ToolDefinition,
)
from kvtape.protocols.requests import refuse_unless, required
from kvtape.types import MAX_TOOLS, Tool, ToolChoice, ToolMode

__all__ = ["MAX_TOOLS_BYTES", "check_name", "read_tool_choice", "read_tools"]

MAX_TOOLS_BYTES = 1 << 20  # of all definitions, as JSON

T = TypeVar("T")

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")


def check_name(name: str, path: str) -> None:
    """Refuse what is no name of a function or a schema.

    Raises:
        InvalidRequest: naming `path`.
    """
    refuse_unless(
        _NAME.fullmatch(name) is not None, path, f"must be 1 to 64 letters, digits, _ and -, found {name!r:.80}"
    )


def read_tools(request: ChatRequest) -> tuple[Tool, ...]:
    """Read the tools of a request, whichever of the two fields they stand in.

    Raises:
        InvalidRequest: too many or too long, one that is no function, a name that is none or is there twice.
    """
    refuse_unless(not (request.tools and request.functions), "functions", "cannot stand beside tools")
    field = "tools" if request.tools else "functions"
    definitions: Sequence[ToolDefinition | FunctionDefinition] = request.tools or request.functions or ()
    if len(definitions) > MAX_TOOLS:
        raise InvalidRequest(f"{field} holds {len(definitions)} functions, at most {MAX_TOOLS}", param=field)
    if len(msgspec.json.encode(definitions)) > MAX_TOOLS_BYTES:
        raise InvalidRequest(f"{field} is longer than {MAX_TOOLS_BYTES} bytes", param=field)
    tools: dict[str, Tool] = {}
    for index, definition in enumerate(definitions):
        tool, path = _read_tool(definition, f"{field}[{index}]")
        refuse_unless(tool.name not in tools, f"{path}.name", f"is {tool.name!r} for the second time")
        tools[tool.name] = tool
    return tuple(tools.values())


def _read_tool(definition: ToolDefinition | FunctionDefinition, path: str) -> tuple[Tool, str]:
    if isinstance(definition, ToolDefinition):
        path, function = _function_of(definition.type, definition.function, path)
    else:
        function = definition
    check_name(function.name, f"{path}.name")
    parameters = function.parameters
    is_object = parameters is None or parameters.get("type", "object") == "object"
    refuse_unless(is_object, f"{path}.parameters", "must be the schema of an object")
    return Tool(function.name, function.description or "", parameters, strict=bool(function.strict)), path


def _function_of(kind: str, function: T | None, path: str) -> tuple[str, T]:
    refuse_unless(kind == "function", f"{path}.type", f"must be 'function', found {kind!r:.40}")
    return f"{path}.function", required(function, f"{path}.function")


def read_tool_choice(request: ChatRequest, tools: Collection[Tool]) -> ToolChoice:
    """Read whether and what the reply calls. A named function is called exactly once, as is any of `functions`.

    Raises:
        InvalidRequest: an unknown form, a tool that there is not, or no tools at all.
    """
    names = {tool.name for tool in tools}
    if request.functions:
        refuse_unless(request.tool_choice in (None, "auto", "none"), "tool_choice", "needs tools")
        return _read_choice("function_call", request.function_call, names, parallel=False)
    refuse_unless(request.function_call in (None, "auto", "none"), "function_call", "needs functions")
    parallel = request.parallel_tool_calls is not False
    return _read_choice("tool_choice", request.tool_choice, names, parallel=parallel)


def _read_choice(
    path: str, choice: str | FunctionName | ToolChoiceObject | None, names: Collection[str], *, parallel: bool
) -> ToolChoice:
    refuse_unless(bool(names) or choice in (None, "auto", "none"), path, "needs tools")
    if choice is None:
        return ToolChoice(parallel=parallel)
    if isinstance(choice, str):
        modes = [str(mode) for mode in ToolMode if path == "tool_choice" or mode is not ToolMode.REQUIRED]
        refuse_unless(choice in modes, path, f"must be one of {', '.join(modes)}, or an object")
        return ToolChoice(ToolMode(choice), parallel=parallel)
    if isinstance(choice, ToolChoiceObject) and choice.type == "allowed_tools":
        return _read_allowed(required(choice.allowed_tools, f"{path}.allowed_tools"), names, parallel=parallel)
    return ToolChoice(ToolMode.REQUIRED, (_read_name(choice, names, path),), parallel=False)


def _read_allowed(allowed: AllowedTools, names: Collection[str], *, parallel: bool) -> ToolChoice:
    path = "tool_choice.allowed_tools"
    refuse_unless(allowed.mode in ("auto", "required"), f"{path}.mode", "must be auto or required")
    refuse_unless(bool(allowed.tools), f"{path}.tools", "must name at least one tool")
    chosen = [_read_name(tool, names, f"{path}.tools[{index}]") for index, tool in enumerate(allowed.tools)]
    return ToolChoice(ToolMode(allowed.mode), tuple(dict.fromkeys(chosen)), parallel)


def _read_name(choice: FunctionName | ToolChoiceObject | NamedTool, names: Collection[str], path: str) -> str:
    if isinstance(choice, FunctionName):
        function = choice
    else:
        path, function = _function_of(choice.type, choice.function, path)
    refuse_unless(function.name in names, f"{path}.name", f"is {function.name!r:.80}, which is not among the tools")
    return function.name
