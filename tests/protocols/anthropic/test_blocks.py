"""Events of a reply to content blocks."""

from __future__ import annotations

import json
from itertools import count

import msgspec
import pytest

from kvtape.protocols.anthropic.blocks import BlockWriter, join_blocks
from kvtape.protocols.anthropic.thinking import sign
from kvtape.types import ContentDelta, ReasoningDelta, ToolCallArguments, ToolCallEnd, ToolCallStart

THOUGHT = [ReasoningDelta("h"), ReasoningDelta("m")]
CALL = [ToolCallStart(0, "f"), ToolCallArguments(0, '{"b": 1'), ToolCallArguments(0, ', "a": 2}'), ToolCallEnd(0)]


def written(*events, **options):
    numbers = count(1)
    writer = BlockWriter(lambda: f"toolu_{next(numbers)}", **options)
    return [*(item for event in events for item in writer.write([event])), *writer.end()]


def wire(items):
    return msgspec.to_builtins([json.loads(msgspec.json.encode(item)) for item in items])


def blocks(*events, **options):
    return wire(join_blocks(written(*events, **options)))


def delta(index, kind, **fields):
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, **fields}}


def start(index, kind, **fields):
    return {"type": "content_block_start", "index": index, "content_block": {"type": kind, **fields}}


def stop(index):
    return {"type": "content_block_stop", "index": index}


def test_blocks_follow_each_other():
    signature = sign("hm", shown=True)
    assert wire(written(*THOUGHT, ContentDelta("Well."), *CALL)) == [
        start(0, "thinking", thinking="", signature=""),
        delta(0, "thinking_delta", thinking="h"),
        delta(0, "thinking_delta", thinking="m"),
        delta(0, "signature_delta", signature=signature),
        stop(0),
        start(1, "text", text=""),
        delta(1, "text_delta", text="Well."),
        stop(1),
        start(2, "tool_use", id="toolu_1", name="f", input={}),
        delta(2, "input_json_delta", partial_json='{"b": 1'),
        delta(2, "input_json_delta", partial_json=', "a": 2}'),
        stop(2),
    ]
    assert blocks(*THOUGHT, ContentDelta("Well."), *CALL) == [
        {"type": "thinking", "thinking": "hm", "signature": signature},
        {"type": "text", "text": "Well."},
        {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"b": 1, "a": 2}},
    ]


def test_text_behind_a_call_is_a_block_of_its_own():
    other = [ToolCallStart(1, "g"), ToolCallArguments(1, "{}"), ToolCallEnd(1)]
    found = blocks(ContentDelta("a"), *CALL, ContentDelta("b"), ContentDelta("c"), *other, *CALL)
    assert [block.get("text", block.get("id")) for block in found] == ["a", "toolu_1", "bc", "toolu_2", "toolu_3"]


def test_calls_behind_each_other_are_blocks_of_their_own_even_if_the_first_has_no_end():
    assert [block["input"] for block in blocks(*CALL[:2], *CALL)] == [{"b": 1}, {"b": 1, "a": 2}]


def test_thinking_that_is_not_shown_is_in_its_signature():
    signature = sign("hm", shown=False)
    assert wire(written(*THOUGHT, shows_thinking=False)) == [
        start(0, "thinking", thinking="", signature=""),
        delta(0, "signature_delta", signature=signature),
        stop(0),
    ]
    assert blocks(*THOUGHT, shows_thinking=False) == [{"type": "thinking", "thinking": "", "signature": signature}]


@pytest.mark.parametrize(
    ("events", "shown"),
    [
        (CALL[:1], {}),
        (CALL[:2], {"b": 1}),
        ([*CALL[:1], ToolCallArguments(0, '{"b": "x'), ToolCallArguments(0, '"y}', broken=True)], {}),
        ([*CALL[:2], ToolCallArguments(0, ", c}", broken=True)], {"b": 1}),
    ],
)
def test_a_call_that_is_cut_or_broken_shows_what_is_whole(events, shown):
    (block,) = blocks(*events)
    assert block["input"] == shown
    pieces = "".join(item["delta"]["partial_json"] for item in wire(written(*events)) if "delta" in item)
    assert "c" not in pieces
    assert "y" not in pieces


def test_the_input_stays_in_the_models_own_words():
    events = [CALL[0], ToolCallArguments(0, '{"a": 1.50,\n "a": 9007199254740993, "s": "\\ud83d'), CALL[3]]
    assert b'"input":{"a": 1.50,\n "a": 9007199254740993}' in msgspec.json.encode(join_blocks(written(*events)))
    halved = [CALL[0], ToolCallArguments(0, '{"s": "\\ud83d'), ToolCallArguments(0, 'x"}'), CALL[3]]
    assert blocks(*halved)[0]["input"] == {"s": "\ufffdx"}


def test_nothing_is_no_block():
    assert written() == join_blocks([]) == []
