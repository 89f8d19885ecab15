"""Replies to messages as literal bytes."""

from __future__ import annotations

import json

import pytest

from kvtape.protocols.anthropic.reply import PING, MessageEncoder, encode_count, make_call_id
from kvtape.types import (
    ContentDelta,
    ReasoningDelta,
    ReplyFinish,
    ReplyStep,
    TokenEvent,
    ToolCallArguments,
    ToolCallEnd,
    ToolCallStart,
    Usage,
)

USAGE = Usage(prompt_tokens=9, completion_tokens=2, cached_tokens=4)


def encoder(max_tokens=5, **options):
    return MessageEncoder(message_id="msg_1", model="tiny", max_tokens=max_tokens, make_id=lambda: "toolu_1", **options)


def step(*events, reasons=False):
    return ReplyStep(TokenEvent(1, "", in_reasoning=reasons), list(events))


def last(finish=ReplyFinish.STOP, stop_string=None, events=()):
    return ReplyStep(TokenEvent(1, "", stop_string=stop_string, usage=USAGE), list(events), finish)


END_TURN, CALLED = last(), last(ReplyFinish.TOOL_CALLS)


def frames(*payloads):
    return b"".join(b"event: " + json.loads(data)["type"].encode() + b"\ndata: " + data + b"\n\n" for data in payloads)


def test_a_count_is_these_bytes():
    assert encode_count(7) == b'{"input_tokens":7}'


def test_a_plain_reply_is_these_bytes():
    assert encoder().body([step(ContentDelta("Hel")), last(events=[ContentDelta("lo")])]) == (
        b'{"type":"message","id":"msg_1","model":"tiny","content":[{"type":"text","text":"Hello"}],'
        b'"usage":{"input_tokens":5,"output_tokens":2,"cache_creation_input_tokens":0,"cache_read_input_tokens":4},'
        b'"stop_reason":"end_turn","stop_sequence":null,"role":"assistant"}'
    )
    assert json.loads(encoder().body([END_TURN]))["content"] == []


def test_a_call_in_a_plain_reply_is_these_bytes():
    steps = [step(ToolCallStart(0, "f")), step(ToolCallArguments(0, '{"b": 1}'), ToolCallEnd(0))]
    assert encoder().body([*steps, CALLED]) == (
        b'{"type":"message","id":"msg_1","model":"tiny","content":[{"type":"tool_use","id":"toolu_1","name":"f",'
        b'"input":{"b": 1}}],"usage":{"input_tokens":5,"output_tokens":2,"cache_creation_input_tokens":0,'
        b'"cache_read_input_tokens":4},"stop_reason":"tool_use","stop_sequence":null,"role":"assistant"}'
    )


@pytest.mark.parametrize(
    ("finish", "stop_sequence", "max_tokens", "expected"),
    [
        (ReplyFinish.STOP, None, 2, ("end_turn", None)),
        (ReplyFinish.STOP, "x", 2, ("stop_sequence", "x")),
        (ReplyFinish.LENGTH, None, 2, ("max_tokens", None)),
        (ReplyFinish.LENGTH, None, 3, ("model_context_window_exceeded", None)),
        (ReplyFinish.TOOL_CALLS, None, 2, ("tool_use", None)),
        (ReplyFinish.TOOL_CALLS, "x", 3, ("tool_use", None)),
    ],
)
def test_stop_reasons(finish, stop_sequence, max_tokens, expected):
    message = json.loads(encoder(max_tokens).body([last(finish, stop_sequence)]))
    assert (message["stop_reason"], message["stop_sequence"]) == expected


@pytest.mark.parametrize(("n_marked", "created"), [(0, 0), (4, 0), (6, 2), (9, 5)])
def test_the_input_adds_up_to_the_prompt(n_marked, created):
    usage = json.loads(encoder().body([END_TURN], n_marked=n_marked))["usage"]
    assert usage["cache_creation_input_tokens"] == created
    assert sum(usage.values()) == 9 + 2


def test_a_stream_is_these_bytes():
    stream = encoder(pings=True)
    assert stream.start(9) == frames(
        b'{"type":"message_start","message":{"type":"message","id":"msg_1","model":"tiny",'
        b'"content":[],"usage":{"input_tokens":9,"output_tokens":0,"cache_creation_input_tokens":0,'
        b'"cache_read_input_tokens":0},"stop_reason":null,"stop_sequence":null,"role":"assistant"}}'
    )
    assert stream.step(step()) == b""
    assert stream.step(step(ContentDelta("He"))) == frames(
        b'{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}',
        b'{"type":"ping"}',
        b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"He"}}',
    )
    assert stream.step(step(ContentDelta("\u2028"))) == frames(
        b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"\\u2028"}}'
    )
    assert stream.finish(last(stop_string="END")) == frames(
        b'{"type":"content_block_stop","index":0}',
        b'{"type":"message_delta","delta":{"stop_reason":"stop_sequence","stop_sequence":"END"},'
        b'"usage":{"input_tokens":5,"output_tokens":2,"cache_creation_input_tokens":0,"cache_read_input_tokens":4}}',
        b'{"type":"message_stop"}',
    )


def test_a_stream_of_thinking_and_a_call_is_these_bytes():
    stream = encoder()
    thought = stream.step(step(ReasoningDelta("hm")))
    assert thought == frames(
        b'{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}',
        b'{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"hm"}}',
    )
    called = stream.step(step(ToolCallStart(0, "f"), ToolCallArguments(0, "{")))
    assert called.endswith(
        frames(
            b'{"type":"content_block_stop","index":0}',
            b'{"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"toolu_1","name":"f",'
            b'"input":{}}}',
            b'{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{"}}',
        )
    )
    assert b'"type":"signature_delta","signature":"kvtape1.' in called
    stream.step(step(ToolCallArguments(0, "}"), ToolCallEnd(0)))
    assert b'"stop_reason":"tool_use"' in stream.finish(CALLED)


def test_what_thinking_took_is_counted():
    steps = [step(reasons=True), step(ReasoningDelta("a"), reasons=True), step(ContentDelta("b")), END_TURN]
    assert json.loads(encoder().body(steps))["usage"]["output_tokens_details"] == {"thinking_tokens": 2}
    assert "output_tokens_details" not in json.loads(encoder().body(steps[2:]))["usage"]


def test_a_stream_without_pings_or_text():
    assert PING not in encoder().step(step(ContentDelta("x")))
    empty = encoder(pings=True)
    assert b"content_block" not in empty.start(9) + empty.step(step()) + empty.finish(END_TURN)


def test_ids_of_calls():
    ids = {make_call_id() for _ in range(100)}
    assert len(ids) == 100
    assert all(call_id.startswith("toolu_") for call_id in ids)
