"""Reasoning and tool calls of one reply."""

from __future__ import annotations

import pytest

from kvtape.chat.reasoning import REASONING_MARKERS, ReasoningSplitter
from kvtape.chat.reply import ReplyParser
from kvtape.chat.tool_parsers import make_tool_parser
from kvtape.types import FinishReason, ParsedReply, ToolCall, gather

CALL = '<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>'
THINK = REASONING_MARKERS[0]


def parse(text: str, reason: FinishReason = FinishReason.STOP, *, thinks: bool = True, tools: bool = True):
    """Parse a reply whole and by single characters, which must agree."""
    replies = []
    for step in (len(text), 1):
        parser = ReplyParser(
            reasoning=ReasoningSplitter(THINK) if thinks else None,
            tools=make_tool_parser("hermes", ["f"]) if tools else None,
        )
        events = [event for at in range(0, len(text), step) for event in parser.feed(text[at : at + step])]
        more, finish = parser.finish(reason)
        replies.append((gather(events + more), finish))
    assert replies[0] == replies[1]
    return replies[0]


def test_reasoning_content_and_call():
    reply, finish = parse(f"<think>\nhm {CALL}\n</think>\n\nSure.\n{CALL}")
    assert reply == ParsedReply("Sure.\n", f"hm {CALL}", [ToolCall("f", '{"a": 1}', True)])
    assert finish == "tool_calls"


def test_a_reply_cut_off_while_thinking_is_all_reasoning():
    assert parse(f"<think>{CALL}", FinishReason.LENGTH) == (ParsedReply("", CALL), "length")


def test_a_reply_cut_off_in_a_call():
    cut = CALL[: CALL.index("}")]
    reply, finish = parse(cut, FinishReason.LENGTH)
    assert reply.tool_calls == [ToolCall("f", '{"a": 1', False)]
    assert finish == "length"
    assert parse(cut)[1] == "stop"


def test_without_tools_and_reasoning_all_is_content():
    text = f"<think>a</think>{CALL}"
    assert parse(text, thinks=False, tools=False) == (ParsedReply(text), "stop")
    reply, finish = parse(text, tools=False)
    assert (reply, finish) == (ParsedReply(CALL, "a"), "stop")
    assert parse(text, thinks=False)[0].content == "<think>a</think>"


def test_a_forced_opening_is_fed_first():
    parser = ReplyParser(tools=make_tool_parser("hermes", ["f"]))
    events = parser.feed('<tool_call>\n{"name": "f", "arguments": ')
    assert events == []
    events = parser.feed('{"a": 1}}\n</tool_call>')
    more, finish = parser.finish(FinishReason.STOP)
    assert gather(events + more).tool_calls == [ToolCall("f", '{"a": 1}', True)]
    assert finish == "tool_calls"


def test_what_failed_is_no_reply():
    with pytest.raises(ValueError, match="cancelled"):
        ReplyParser().finish(FinishReason.CANCELLED)
