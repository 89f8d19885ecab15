"""Llama 3: JSON, and calls as in Python."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.chat.tool_parsers.parsing import TEXTS, called, events_of, parse

TOOLS = ("brave_search", "get_weather", "now")


@pytest.mark.parametrize(
    ("text", "content", "calls"),
    [
        # 3.1 and 3.2 with a tool of the user
        ('{"name": "get_weather", "parameters": {"city": "Lima"}}', "", [("get_weather", {"city": "Lima"})]),
        (
            '<|python_tag|>{"type": "function", "name": "get_weather", "parameters": {"city": "Lima"}}',
            "",
            [("get_weather", {"city": "Lima"})],
        ),
        ('{"type": "function", "function": {"name": "now", "parameters": {}}}', "", [("now", {})]),
        ('{"function": "now", "parameters": {}}', "", [("now", {})]),
        ('{"name": "now", "parameters": {}}; {"name": "now", "parameters": {}}', "", [("now", {})] * 2),
        ('```json\n{"name": "now", "parameters": {}}\n```', "", [("now", {})]),
        # tools that are built in
        (
            '<|python_tag|>brave_search.call(query="llamas in Lima")',
            "",
            [("brave_search", {"query": "llamas in Lima"})],
        ),
        # 3.3
        ("<|python_tag|>get_weather(location='Lima', n=2)", "", [("get_weather", {"location": "Lima", "n": 2})]),
        (
            '<|python_tag|>get_weather( a = [1, {"b": null}] , c=True,d=None, e=-1.5, )',
            "",
            [("get_weather", {"a": [1, {"b": None}], "c": True, "d": None, "e": -1.5})],
        ),
        ("<|python_tag|>now()", "", [("now", {})]),
        ("<|python_tag|>now.call( ); <|python_tag|>now()", "", [("now", {})] * 2),
        (
            r"<|python_tag|>now(a='it\'s \d \\ \u00e9 é', b=" + '"\n")',
            "",
            [("now", {"a": "it's \\d \\ é é", "b": "\n"})],
        ),
        # code is no call
        ("<|python_tag|>print(1)\n", "<|python_tag|>print(1)\n", []),
        ("<|python_tag|>import os", "<|python_tag|>import os", []),
        ("<|python_tag|>now", "<|python_tag|>now", []),
        ("now(a=1)", "now(a=1)", []),
    ],
)
def test_literal_replies(text, content, calls):
    reply = parse("llama", text, TOOLS)
    assert (reply.content, called(reply)) == (content, calls)


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ("now(1)", "1)"),
        ('now(a="he said "hi"")', '{"a": "he said "hi"")'),
        ("now(a=b)", '{"a": b)'),
        ("now(a=Truth)", '{"a": Truth)'),
        (r"now(a='\u12x4')", r'{"a": "\u12x4' + "')"),
        ("now(a=1 b=2)", '{"a": 1b=2)'),
    ],
)
def test_what_is_no_call_of_python_is_never_complete(text, arguments):
    (call,) = parse("llama", "<|python_tag|>" + text, TOOLS).tool_calls
    assert (call.arguments, call.complete) == (arguments, False)


@settings(deadline=None)
@given(st.dictionaries(st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True), TEXTS | st.integers(), max_size=3))
def test_strings_in_single_quotes(arguments):
    def literal(value: str | int) -> str:
        escaped = str(value).replace("\\", "\\\\").replace("'", "\\'")
        return f"'{escaped}'" if isinstance(value, str) else str(value)

    text = f"<|python_tag|>now({', '.join(f'{key}={literal(value)}' for key, value in arguments.items())})"
    assert called(parse("llama", text, None)) == [("now", arguments)]


def test_arguments_are_streamed():
    events = events_of("llama", "<|python_tag|>now(query='a long te", tools=TOOLS)
    assert events[-1].text == '{"query": "a long te'
    assert json.loads(events[-1].text + '"}') == {"query": "a long te"}
