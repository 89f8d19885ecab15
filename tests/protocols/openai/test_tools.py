"""Tools and the choice among them."""

from __future__ import annotations

import json

import pytest

from kvtape.errors import InvalidRequest
from kvtape.protocols.openai.request_models import ChatRequest
from kvtape.protocols.openai.tools import MAX_TOOLS_BYTES, read_tool_choice, read_tools
from kvtape.protocols.requests import decode_request
from kvtape.types import MAX_TOOLS, Tool, ToolChoice, ToolMode

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}


def read(**fields):
    """Return tools and choice of a request."""
    request = decode_request(json.dumps({"messages": [], **fields}).encode(), ChatRequest)
    tools = read_tools(request)
    return tools, read_tool_choice(request, tools)


def tool(name="f", **fields):
    return {"type": "function", "function": {"name": name, **fields}}


def named(name):
    return {"type": "function", "function": {"name": name}}


def test_functions():
    tools, choice = read(tools=[tool("f", description="does f", parameters=SCHEMA, strict=True), tool("g-1")])
    assert tools == (Tool("f", "does f", SCHEMA, strict=True), Tool("g-1"))
    assert choice == ToolChoice()
    assert read(tools=[{"function": {"name": "f", "strict": None, "parameters": None}}])[0] == (Tool("f"),)


@pytest.mark.parametrize(
    ("choice", "wanted"),
    [
        (None, ToolChoice()),
        ("auto", ToolChoice()),
        ("none", ToolChoice(ToolMode.NONE)),
        ("required", ToolChoice(ToolMode.REQUIRED)),
        (named("g"), ToolChoice(ToolMode.REQUIRED, ("g",), parallel=False)),
        (
            {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [named("g"), named("g")]}},
            ToolChoice(ToolMode.AUTO, ("g",)),
        ),
        (
            {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [named("g"), named("f")]}},
            ToolChoice(ToolMode.REQUIRED, ("g", "f")),
        ),
    ],
)
def test_choices(choice, wanted):
    assert read(tools=[tool("f"), tool("g")], tool_choice=choice)[1] == wanted


def test_one_call_at_a_time():
    assert read(tools=[tool()], parallel_tool_calls=False)[1] == ToolChoice(parallel=False)
    assert read(tools=[tool()], parallel_tool_calls=True)[1] == ToolChoice()


@pytest.mark.parametrize(
    ("choice", "wanted"),
    [
        (None, ToolChoice(parallel=False)),
        ("none", ToolChoice(ToolMode.NONE, parallel=False)),
        ({"name": "g"}, ToolChoice(ToolMode.REQUIRED, ("g",), parallel=False)),
    ],
)
def test_the_older_functions(choice, wanted):
    functions = [{"name": "f", "parameters": SCHEMA}, {"name": "g", "description": "does g"}]
    assert read(functions=functions, function_call=choice) == ((Tool("f", "", SCHEMA), Tool("g", "does g")), wanted)


def test_nothing_is_called_without_tools():
    for fields in ({}, {"tools": []}, {"tools": None, "tool_choice": "none"}, {"function_call": "auto"}):
        assert read(**fields)[0] == ()


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [{}]}, "tools[0].function"),
        ({"tools": [tool("a"), {"type": "custom", "custom": {"name": "x"}}]}, "tools[1].type"),
        ({"tools": [{"function": {}}]}, "tools[0].function.name"),
        ({"tools": [tool("")]}, "tools[0].function.name"),
        ({"tools": [tool("a b")]}, "tools[0].function.name"),
        ({"tools": [tool("a\n")]}, "tools[0].function.name"),
        ({"tools": [tool("é")]}, "tools[0].function.name"),
        ({"tools": [tool("a" * 65)]}, "tools[0].function.name"),
        ({"tools": [tool("a"), tool("a")]}, "tools[1].function.name"),
        ({"tools": [tool(parameters=[])]}, "tools[0].function.parameters"),
        ({"tools": [tool(parameters={"type": "string"})]}, "tools[0].function.parameters"),
        ({"tools": [tool(strict="yes")]}, "tools[0].function.strict"),
        ({"tools": [tool(f"f{i}") for i in range(MAX_TOOLS + 1)]}, "tools"),
        ({"tools": [tool(description="x" * MAX_TOOLS_BYTES)]}, "tools"),
        ({"tools": [tool()], "tool_choice": "any"}, "tool_choice"),
        ({"tools": [tool()], "tool_choice": {}}, "tool_choice.function"),
        ({"tools": [tool()], "tool_choice": named("g")}, "tool_choice.function.name"),
        ({"tools": [tool()], "tool_choice": {"type": "custom", "custom": {"name": "x"}}}, "tool_choice.type"),
        ({"tools": [tool()], "tool_choice": {"type": "allowed_tools"}}, "tool_choice.allowed_tools"),
        (
            {"tools": [tool()], "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "x", "tools": []}}},
            "tool_choice.allowed_tools.mode",
        ),
        (
            {
                "tools": [tool()],
                "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}},
            },
            "tool_choice.allowed_tools.tools",
        ),
        (
            {
                "tools": [tool()],
                "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [named("g")]}},
            },
            "tool_choice.allowed_tools.tools[0].function.name",
        ),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": named("f")}, "tool_choice"),
        ({"tools": [tool()], "function_call": {"name": "f"}}, "function_call"),
        ({"tools": [tool()], "functions": [{"name": "f"}]}, "functions"),
        ({"functions": [{"name": "f"}], "tool_choice": "required"}, "tool_choice"),
        ({"functions": [{"name": "f"}], "function_call": "required"}, "function_call"),
        ({"functions": [{"name": "f"}], "function_call": {"name": "g"}}, "function_call.name"),
        ({"functions": [{"name": "f"}, {"name": "?"}]}, "functions[1].name"),
    ],
)
def test_refusals_name_the_path(fields, param):
    with pytest.raises(InvalidRequest) as caught:
        read(**fields)
    assert caught.value.param == param
