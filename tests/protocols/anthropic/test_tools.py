"""Tools and the choice among them."""

from __future__ import annotations

import msgspec
import pytest

from kvtape.errors import InvalidRequest
from kvtape.protocols.anthropic.models import ToolChoiceInput, ToolInput
from kvtape.protocols.anthropic.tools import read_tool_choice, read_tools
from kvtape.types import MAX_TOOLS, Tool, ToolChoice, ToolMode

SCHEMA = {"type": "object", "properties": {"b": {}, "a": {}}}
PLAIN = {"name": "f", "input_schema": SCHEMA}
TOOLS = (Tool("f"), Tool("g"))


def read(*tools):
    return read_tools(msgspec.convert(list(tools), list[ToolInput]))


def choose(tools=TOOLS, **fields):
    return read_tool_choice(msgspec.convert(fields, ToolChoiceInput), tools)


def test_a_tool():
    tool = {**PLAIN, "description": "Does.", "type": "custom", "strict": True, "cache_control": {"type": "ephemeral"}}
    assert read(tool) == (Tool("f", "Does.", SCHEMA, strict=True),)
    assert read(PLAIN) == (Tool("f", "", SCHEMA),)
    assert list(read(PLAIN)[0].parameters["properties"]) == ["b", "a"]
    assert read_tools(None) == ()


def test_examples_are_part_of_the_schema():
    (tool,) = read({**PLAIN, "input_examples": [{"a": 1}]})
    assert tool.parameters == {**SCHEMA, "examples": [{"a": 1}]}


@pytest.mark.parametrize(
    "fields",
    [{"eager_input_streaming": True}, {"defer_loading": False}, {"allowed_callers": ["direct"]}, {"strict": False}],
)
def test_what_asks_for_nothing_passes(fields):
    assert read({**PLAIN, **fields}) == read(PLAIN)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"type": "web_search_20250305"}, "type"),
        ({"type": "bash_20250124", "name": "bash"}, "type"),
        ({"type": "computer_20250124"}, "type"),
        ({"name": None}, "name"),
        ({"name": ""}, "name"),
        ({"name": "a b"}, "name"),
        ({"name": "x" * 129}, "name"),
        ({"input_schema": None}, "input_schema"),
        ({"input_schema": {}}, "input_schema.type"),
        ({"input_schema": {"type": "array"}}, "input_schema.type"),
        ({"defer_loading": True}, "defer_loading"),
        ({"allowed_callers": ["code_execution_20250825"]}, "allowed_callers"),
    ],
)
def test_refusals_name_the_path(fields, param):
    with pytest.raises(InvalidRequest) as caught:
        read({**PLAIN, "name": "g"}, {**PLAIN, **fields})
    assert caught.value.param == f"tools[1].{param}"
    assert str(caught.value).startswith(f"tools[1].{param}")


def test_there_are_not_more_than_can_be_compiled():
    many = [ToolInput(name=f"f{n}", input_schema={"type": "object"}) for n in range(MAX_TOOLS + 1)]
    assert len(read_tools(many[1:])) == MAX_TOOLS
    with pytest.raises(InvalidRequest) as caught:
        read_tools(many)
    assert caught.value.param == "tools"


def test_names_are_unique():
    with pytest.raises(InvalidRequest, match="unique") as caught:
        read(PLAIN, PLAIN)
    assert caught.value.param == "tools[1].name"


@pytest.mark.parametrize(
    ("fields", "choice"),
    [
        ({"type": "auto"}, ToolChoice()),
        ({"type": "auto", "disable_parallel_tool_use": True}, ToolChoice(parallel=False)),
        ({"type": "none"}, ToolChoice(ToolMode.NONE)),
        ({"type": "any"}, ToolChoice(ToolMode.REQUIRED)),
        ({"type": "any", "disable_parallel_tool_use": False}, ToolChoice(ToolMode.REQUIRED)),
        ({"type": "tool", "name": "g"}, ToolChoice(ToolMode.REQUIRED, ("g",))),
    ],
)
def test_choices(fields, choice):
    assert choose(**fields) == choice
    assert read_tool_choice(None, TOOLS) == ToolChoice()


@pytest.mark.parametrize(
    ("tools", "fields", "param"),
    [
        ((), {"type": "any"}, "tool_choice"),
        ((), {"type": "tool", "name": "f"}, "tool_choice"),
        (TOOLS, {"type": "tool", "name": "h"}, "tool_choice.name"),
        (TOOLS, {"type": "tool"}, "tool_choice.name"),
    ],
)
def test_choices_that_there_are_not(tools, fields, param):
    with pytest.raises(InvalidRequest) as caught:
        choose(tools, **fields)
    assert caught.value.param == param
