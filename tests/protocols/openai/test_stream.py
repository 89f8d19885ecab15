"""Streamed replies as literal bytes, and against plain ones."""

from __future__ import annotations

import json

import pytest

from kvtape.protocols.openai.reply import ReplyForm, encode_completion
from kvtape.protocols.openai.stream import ChatStreamEncoder
from kvtape.protocols.sse import SseDecoder
from kvtape.types import ContentDelta, ReplyFinish, ReplyStep, TokenEvent, ToolCallStart
from tests.protocols.openai.replies import CALLS, CUT, HEAD, THOUGHT, USAGE, spell, steps

BEGIN = b'data: {"id":"chatcmpl-a1","created":7,"model":"m","system_fingerprint":"fp_1","choices":['
CHUNK = b'],"object":"chat.completion.chunk"'
REST = b',"logprobs":null,"finish_reason":null,"index":0}' + CHUNK + b"}\n\n"


def content(text):
    return ReplyStep(TokenEvent(2, text, logprob=-2.0), [ContentDelta(text)])


def test_stream_bytes():
    encoder = ChatStreamEncoder(HEAD, ReplyForm())
    assert encoder.start() == BEGIN + b'{"delta":{"role":"assistant","content":"","refusal":null}' + REST
    assert encoder.event(0, ReplyStep(TokenEvent(1, ""), [])) == b""
    assert encoder.event(0, content("a\u2028")) == BEGIN + b'{"delta":{"content":"a\\u2028"}' + REST
    (last,) = steps([ContentDelta("b")], finish=ReplyFinish.LENGTH)
    assert encoder.event(0, last) == (
        BEGIN + b'{"delta":{"content":"b"}' + REST
        + BEGIN + b'{"delta":{},"logprobs":null,"finish_reason":"length","index":0}' + CHUNK + b"}\n\n"
    )  # fmt: skip
    assert encoder.end(USAGE) == b""


def test_stream_bytes_of_a_call():
    encoder = ChatStreamEncoder(HEAD, ReplyForm(calls=True))
    assert encoder.start() == BEGIN + b'{"delta":{"role":"assistant","content":null,"refusal":null}' + REST
    assert b"".join(encoder.event(0, step) for step in CUT) == (
        BEGIN + b'{"delta":{"tool_calls":[{"index":0,"function":{"name":"f","arguments":""},"id":"call_a1_0_0",'
        b'"type":"function"}]}' + REST
        + BEGIN + b'{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\\"a\\""}}]}' + REST
        + BEGIN + b'{"delta":{},"logprobs":null,"finish_reason":"length","index":0}' + CHUNK + b"}\n\n"
    )  # fmt: skip


def test_stream_with_usage_carries_null_until_the_last_chunk():
    encoder = ChatStreamEncoder(HEAD, ReplyForm(service_tier="default"), include_usage=True)
    assert encoder.event(0, content("a")).endswith(CHUNK + b',"usage":null,"service_tier":"default"}\n\n')
    assert encoder.end(USAGE) == (
        BEGIN + CHUNK + b',"usage":{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11,'
        b'"prompt_tokens_details":{"cached_tokens":4}},"service_tier":"default"}\n\n'
    )  # fmt: skip


def test_usage_counts_reasoning_where_there_was_any():
    encoder = ChatStreamEncoder(HEAD, ReplyForm(), n=2, include_usage=True)
    for index, made in ((0, THOUGHT), (1, THOUGHT)):
        for step in made:
            encoder.event(index, step)
    assert b'"completion_tokens_details":{"reasoning_tokens":8}' in encoder.end(USAGE)


def chunks(frames):
    return [json.loads(event.data)["choices"][0] for event in SseDecoder().feed(frames)]


def test_choices_are_told_apart_by_their_index_and_the_ids_of_their_calls():
    encoder = ChatStreamEncoder(HEAD, ReplyForm(calls=True), n=2)
    assert [choice["index"] for choice in chunks(encoder.start())] == [0, 1]
    begun = [chunks(encoder.event(index, ReplyStep(TokenEvent(2, ""), [ToolCallStart(0, "f")]))) for index in (1, 0)]
    assert [choice["index"] for (choice,) in begun] == [1, 0]
    assert len({choice["delta"]["tool_calls"][0]["id"] for (choice,) in begun}) == 2


def test_chunks_carry_the_logprobs_of_what_they_show():
    encoder = ChatStreamEncoder(HEAD, ReplyForm(), n=2, token_bytes=spell)
    assert encoder.event(0, ReplyStep(TokenEvent(1, "", logprob=-1.0), [])) == b""
    (other,) = chunks(encoder.event(1, ReplyStep(TokenEvent(9, "x", logprob=-9.0), [ContentDelta("x")])))
    assert [entry["token"] for entry in other["logprobs"]["content"]] == ["9"]
    (choice,) = chunks(encoder.event(0, content("a")))
    assert [(entry["token"], entry["logprob"]) for entry in choice["logprobs"]["content"]] == [("1", -1.0), ("2", -2.0)]
    *_, last = steps([], [], [])
    (end,) = chunks(encoder.event(0, last))
    assert (end["delta"], end["finish_reason"]) == ({}, "stop")
    assert [entry["token"] for entry in end["logprobs"]["content"]] == ["3"]


def test_reasoning_in_one_piece():
    form = ReplyForm(stream_reasoning=False)
    for made, n_chunks in ((THOUGHT, 3), (THOUGHT[:3] + steps([], finish=ReplyFinish.LENGTH), 2)):
        encoder = ChatStreamEncoder(HEAD, form)
        deltas = [choice["delta"] for step in made for choice in chunks(encoder.event(0, step))]
        assert len(deltas) == n_chunks
        assert deltas[0] == {"reasoning": "I think", "reasoning_content": "I think"}


def joined(frames):
    """Put the one choice of a stream together, as clients do."""
    message, logprobs, reason = {}, [], None
    for choice in chunks(frames):
        assert reason is None
        reason = choice["finish_reason"]
        logprobs += (choice["logprobs"] or {"content": []})["content"]
        for call in choice["delta"].pop("tool_calls", []):
            calls = message.setdefault("tool_calls", [])
            if "id" in call:
                assert call.pop("index") == len(calls)
                calls.append(call)
            else:
                calls[call["index"]]["function"]["arguments"] += call["function"]["arguments"]
        function = choice["delta"].pop("function_call", {})
        if "name" in function:
            message["function_call"] = function
        elif function:
            message["function_call"]["arguments"] += function["arguments"]
        for name, value in choice["delta"].items():
            message[name] = value if message.get(name) is None else message[name] + value
    return message, logprobs, reason


STILL_THINKING = THOUGHT[:3] + steps([], finish=ReplyFinish.LENGTH)


@pytest.mark.parametrize("made", [CALLS, CUT, THOUGHT, STILL_THINKING, steps([]), steps([ContentDelta("a")])])
@pytest.mark.parametrize("shown", [{}, {"reasoning": False}, {"stream_reasoning": False}])
@pytest.mark.parametrize("calls", [False, True])
def test_a_stream_says_what_a_plain_reply_says(made, shown, calls):
    form = ReplyForm(calls=calls, **shown)
    encoder = ChatStreamEncoder(HEAD, form, reasons=True, token_bytes=spell)
    frames = encoder.start() + b"".join(encoder.event(0, step) for step in made)
    (plain,) = json.loads(encode_completion([made], USAGE, HEAD, form, token_bytes=spell))["choices"]
    assert joined(frames) == (plain["message"], plain["logprobs"]["content"], plain["finish_reason"])


def test_a_stream_of_the_older_function_call():
    form, made = ReplyForm(calls=True, legacy=True), CALLS[:8] + steps([], finish=ReplyFinish.TOOL_CALLS)
    encoder = ChatStreamEncoder(HEAD, form)
    frames = encoder.start() + b"".join(encoder.event(0, step) for step in made)
    (plain,) = json.loads(encode_completion([made], USAGE, HEAD, form))["choices"]
    assert joined(frames)[::2] == (plain["message"], plain["finish_reason"])
