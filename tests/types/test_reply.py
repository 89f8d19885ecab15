"""Events add up to a reply."""

from __future__ import annotations

from kvtape.types import (
    ContentDelta,
    ParsedReply,
    ReasoningDelta,
    ToolCall,
    ToolCallArguments,
    ToolCallEnd,
    ToolCallStart,
    gather,
)


def test_nothing_is_an_empty_reply_without_reasoning():
    assert gather([]) == ParsedReply("", None, [])


def test_deltas_are_joined_and_calls_told_apart():
    events = [
        ReasoningDelta("why"),
        ReasoningDelta(" not"),
        ContentDelta("Well"),
        ToolCallStart(0, "f"),
        ToolCallArguments(0, '{"a"'),
        ToolCallArguments(0, ": 1}"),
        ToolCallEnd(0),
        ContentDelta("."),
        ToolCallStart(1, "g"),
        ToolCallArguments(1, "{"),
    ]
    calls = [ToolCall("f", '{"a": 1}', True), ToolCall("g", "{", False)]
    assert gather(events) == ParsedReply("Well.", "why not", calls)
