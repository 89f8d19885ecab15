"""Mistral, old and new."""

from __future__ import annotations

import pytest

from tests.chat.tool_parsers.parsing import called, parse

TOOLS = ("get_weather", "now")
LIMA = [("get_weather", {"city": "Lima"})]


@pytest.mark.parametrize(
    ("text", "content", "calls"),
    [
        # 7B v0.3, Nemo, Ministral 2410
        ('[TOOL_CALLS] [{"name": "get_weather", "arguments": {"city": "Lima"}}]', "", LIMA),
        ('[TOOL_CALLS][{"name": "get_weather", "arguments": {"city": "Lima"}, "id": "VvvODy9mT"}]', "", LIMA),
        (
            '[TOOL_CALLS] [{"arguments": {"city": "Lima"}, "name": "get_weather"}, {"name": "now", "arguments": {}}]',
            "",
            [*LIMA, ("now", {})],
        ),
        ('[TOOL_CALLS]{"name": "now", "arguments": {}}', "", [("now", {})]),
        # Small 3.1
        ('[TOOL_CALLS]get_weather{"city": "Lima"}[TOOL_CALLS]now{}', "", [*LIMA, ("now", {})]),
        # Small 3.2, Devstral, Ministral 3
        ('[TOOL_CALLS]get_weather[ARGS]{"city": "Lima"}', "", LIMA),
        ('[TOOL_CALLS]get_weather[CALL_ID]VvvODy9mT[ARGS]{"city": "Lima"}', "", LIMA),
        (
            'Wait. [TOOL_CALLS] get_weather [ARGS] {"city": "Lima"}\n[TOOL_CALLS]now[ARGS]{}',
            "Wait. ",
            [*LIMA, ("now", {})],
        ),
        # not calls
        ("[TOOL_CALLS] is a marker", "[TOOL_CALLS] is a marker", []),
        ("[TOOL_CALLS]rm[ARGS]{}", "[TOOL_CALLS]rm[ARGS]{}", []),
        ("[TOOL_CALLS]now[ARG]{}", "[TOOL_CALLS]now[ARG]{}", []),
        ("[TOOL_CALLS]now[ARGS][]", "[TOOL_CALLS]now[ARGS][]", []),
        ("[TOOL_CALLS]now[CALL_ID]" + "x" * 100 + "[ARGS]{}", "[TOOL_CALLS]now[CALL_ID]" + "x" * 100 + "[ARGS]{}", []),
        ("[TOOL_CALLS]now", "[TOOL_CALLS]now", []),
        ("[TOOL_[1, 2]", "[TOOL_[1, 2]", []),
        ('{"name": "now", "arguments": {}}', '{"name": "now", "arguments": {}}', []),
    ],
)
def test_literal_replies(text, content, calls):
    reply = parse("mistral", text, TOOLS)
    assert (reply.content, called(reply)) == (content, calls)


def test_a_second_call_of_an_unknown_tool_is_content():
    reply = parse("mistral", '[TOOL_CALLS] [{"name": "now", "arguments": {}}, {"name": "rm", "arguments": {}}]', TOOLS)
    assert called(reply) == [("now", {})]
    assert reply.content == '{"name": "rm", "arguments": {}}]'
