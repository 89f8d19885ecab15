"""Tools, calls and results in prompts."""

from __future__ import annotations

import json

import pytest

from kvtape.chat.tool_parsers import make_tool_parser
from kvtape.chat.tool_prompt import fold_tools, has_tools, template_messages, template_tools
from kvtape.types import Tool, gather

TOOLS = [Tool("look_up", "Finds it.", {"type": "object"}), Tool("stop")]
USER = {"role": "user", "content": "Where?"}


def calling(*arguments, content=""):
    calls = [
        {"id": f"call_{n}", "type": "function", "function": {"name": "look_up", "arguments": text}}
        for n, text in enumerate(arguments)
    ]
    return {"role": "assistant", "content": content, "tool_calls": calls}


def result(text, n=0):
    return {"role": "tool", "content": text, "tool_call_id": f"call_{n}"}


def test_a_template_that_names_tools_knows_them():
    assert has_tools("{% if tools %}{% endif %}")
    assert not has_tools("{{ messages }}")


def test_tools_have_openais_form():
    assert template_tools(TOOLS) == [
        {
            "type": "function",
            "function": {"name": "look_up", "description": "Finds it.", "parameters": {"type": "object"}},
        },
        {
            "type": "function",
            "function": {"name": "stop", "description": "", "parameters": {"type": "object", "properties": {}}},
        },
    ]


@pytest.mark.parametrize(("text", "value"), [('{"a": [1]}', {"a": [1]}), ("{}", {}), ("", {})])
def test_templates_get_arguments_as_objects(text, value):
    message = calling(text)
    [shown] = template_messages([message])
    assert shown["tool_calls"][0]["function"] == {"name": "look_up", "arguments": value}
    assert message["tool_calls"][0]["function"]["arguments"] == text


@pytest.mark.parametrize("form", ["hermes", "json"])
def test_what_is_folded_is_what_the_parser_of_that_form_reads(form):
    folded = fold_tools([USER, calling('{"a": "\\u00e4"}', "{}", content="Wait."), result("here")], [], form)
    assert [message["role"] for message in folded] == ["user", "assistant", "user"]
    parser = make_tool_parser(form)
    reply = gather(parser.feed(folded[1]["content"]) + parser.finish())
    assert reply.content == "Wait.\n"
    assert [(call.name, json.loads(call.arguments)) for call in reply.tool_calls] == [
        ("look_up", {"a": "ä"}),
        ("look_up", {}),
    ]
    assert folded[2]["content"] == "<tool_response>\nhere\n</tool_response>"


@pytest.mark.parametrize("form", ["hermes", "json"])
def test_tools_join_the_system_prompt(form):
    alone = fold_tools([USER], TOOLS, form)
    assert [message["role"] for message in alone] == ["system", "user"]
    assert all(tool.name in alone[0]["content"] for tool in TOOLS)
    joined = fold_tools([{"role": "system", "content": "Be brief."}, USER], TOOLS, form)
    assert joined[0]["content"] == f"Be brief.\n\n{alone[0]['content']}"
    assert joined[1:] == alone[1:] == [USER]


def test_results_and_the_question_after_them_are_one_turn():
    folded = fold_tools([USER, calling("{}", "{}"), result("one"), result("two", 1), USER], [], "hermes")
    assert [message["role"] for message in folded] == ["user", "assistant", "user"]
    assert folded[2]["content"].endswith("two\n</tool_response>\nWhere?")


def test_messages_are_left_as_they_are():
    messages = [USER, calling("{}"), result("one")]
    before = json.dumps(messages)
    fold_tools(messages, TOOLS, "hermes")
    assert json.dumps(messages) == before
