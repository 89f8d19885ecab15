"""Chat completions as literal bytes."""

from __future__ import annotations

import json

import pytest
from msgspec import UNSET

from kvtape.errors import InvalidRequest
from kvtape.protocols.openai.codec import ChatStreamEncoder, decode_chat_request, encode_completion
from kvtape.protocols.openai.models import ChatRequest, Head
from kvtape.protocols.sse import SseDecoder
from kvtape.types import MAX_CHOICES, FinishReason, ReplyStep, SamplingParams, TokenEvent, Usage

USER = {"role": "user", "content": "Hi"}
HEAD = Head("c", 7, "m", "fp_1")
USAGE = Usage(prompt_tokens=9, completion_tokens=2, cached_tokens=4)


def decode(**fields):
    return decode_chat_request(json.dumps({"messages": [USER], **fields}).encode())


def test_defaults():
    call = decode()
    assert call.messages == [USER]
    assert call.params == SamplingParams(temperature=0.6, top_p=0.9)
    assert not call.stream
    assert not call.include_usage
    assert call.template_options == {}


def test_every_sampling_field_is_honoured():
    call = decode(
        max_tokens=5, max_completion_tokens=9, temperature=0, top_p=1, top_k=40, min_p=0.1, repeat_penalty=1.1,
        frequency_penalty=0.5, presence_penalty=-0.5, logit_bias={"7": -100}, seed=3, stop=["a", "b"], ignore_eos=True,
        logprobs=True, top_logprobs=20,
    )  # fmt: skip
    assert call.params == SamplingParams(
        max_tokens=5, temperature=0, top_p=1, top_k=40, min_p=0.1, repeat_penalty=1.1, frequency_penalty=0.5,
        presence_penalty=-0.5, logit_bias={7: -100.0}, seed=3, stop=("a", "b"), ignore_eos=True, logprobs=True,
        top_logprobs=20,
    )  # fmt: skip


def test_content_forms():
    parts = [{"type": "text", "text": "a"}, {"text": "b"}]
    body = {
        "messages": [{"role": "system", "content": parts}, {"role": "user"}, {"role": "assistant", "content": None}]
    }
    call = decode_chat_request(json.dumps(body).encode())
    assert [message["content"] for message in call.messages] == ["ab", "", ""]


@pytest.mark.parametrize(
    "fields",
    [
        {"n": 1}, {"n": None}, {"tools": []}, {"tools": None}, {"tool_choice": "auto"}, {"parallel_tool_calls": False},
        {"response_format": {"type": "text"}}, {"user": "me"}, {"metadata": {}}, {"store": True},
        {"frequency_penalty": 0}, {"logit_bias": {}}, {"modalities": ["text"]}, {"include_reasoning": False},
        {"model": "whatever"}, {"stream": False}, {"safety_identifier": "x"}, {"prompt_cache_key": "k"},
        {"prompt_cache_options": {"mode": "explicit"}}, {"prompt_cache_retention": "24h"}, {"verbosity": "medium"},
        {"prediction": {"type": "content", "content": "x"}}, {"service_tier": "priority"}, {"grammar": None},
    ],
)  # fmt: skip
def test_inert_fields_pass(fields):
    assert decode(**fields).params == SamplingParams(temperature=0.6, top_p=0.9)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 0}, "n"),
        ({"n": MAX_CHOICES + 1}, "n"),
        ({"tools": [{}]}, "tools"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"functions": [{}]}, "functions"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"audio": {"voice": "x"}}, "audio"),
        ({"grammar": "root ::= 'a'"}, "grammar"),
        ({"regex": "a"}, "regex"),
        ({"moderation": {"model": "x"}}, "moderation"),
        ({"verbosity": "low"}, "verbosity"),
        ({"web_search_options": {}}, "web_search_options"),
        ({"service_tier": "golden"}, "service_tier"),
        ({"stream": True, "stream_options": {"include_obfuscation": True}}, "stream_options.include_obfuscation"),
        ({"seed": -(1 << 63) - 1}, "seed"),
        ({"modalities": ["audio"]}, "modalities"),
        ({"session_id": "sess_1"}, "session_id"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"reasoning_effort": "huge"}, "reasoning_effort"),
        ({"chat_template_kwargs": {"x": 1}}, "chat_template_kwargs.x"),
        ({"chat_template_kwargs": {"add_generation_prompt": False}}, "chat_template_kwargs.add_generation_prompt"),
        ({"chat_template_kwargs": {"date_string": 4}}, "chat_template_kwargs.date_string"),
        ({"temperature": 2.5}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"stop": ["a"] * 5}, "stop"),
        ({"logit_bias": {"x": 1}}, "logit_bias"),
        ({"logit_bias": {"5": 101}}, "logit_bias"),
        ({"messages": []}, "messages"),
        ({"messages": [USER, {"role": "robot", "content": ""}]}, "messages[1].role"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": [{"role": "assistant", "tool_calls": [{}]}]}, "messages[0].tool_calls"),
        ({"messages": [{"role": "assistant", "refusal": "no"}]}, "messages[0].refusal"),
        ({"messages": [{"role": "assistant", "audio": {"id": "a"}}]}, "messages[0].audio"),
        ({"messages": [{"role": "assistant", "function_call": {"name": "f"}}]}, "messages[0].function_call"),
        ({"messages": [{"content": "x"}]}, "messages[0].role"),
    ],
)
def test_refusals_name_the_parameter(fields, param):
    with pytest.raises(InvalidRequest) as caught:
        decode(**fields)
    assert caught.value.param == param


def test_template_options():
    call = decode(chat_template_kwargs={"date_string": "today", "enable_thinking": True}, reasoning_effort="low")
    assert call.template_options == {"date_string": "today", "enable_thinking": False}


def test_a_developer_is_system():
    call = decode(messages=[{"role": "developer", "content": "be brief"}, USER])
    assert call.messages[0] == {"role": "system", "content": "be brief"}


def test_a_tier_is_named_in_the_reply_where_the_request_names_one():
    assert decode(service_tier="priority").service_tier == "default"
    assert decode().service_tier is UNSET


# What the SDK 3.54.0 knows and this server does not even look at, with the reason where it is not obvious.
INERT = {
    "user", "safety_identifier", "metadata", "store",
    "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention",
    "prediction",  # it makes nothing but speed
}  # fmt: skip


def test_every_parameter_of_the_sdk_is_known():
    params = pytest.importorskip("openai.types.chat.completion_create_params")
    known = set(ChatRequest.__struct_fields__) | INERT
    theirs = params.CompletionCreateParamsStreaming.__annotations__ | params.CompletionCreateParamsBase.__annotations__
    assert set(theirs) <= known


def test_completion_bytes():
    events = [TokenEvent(5, "Hel"), TokenEvent(6, "lo", finish_reason=FinishReason.STOP, usage=USAGE)]
    other = [TokenEvent(7, "", finish_reason=FinishReason.LENGTH, usage=USAGE)]
    assert encode_completion([events, other], USAGE, HEAD, service_tier="default") == (
        b'{"id":"c","created":7,"model":"m","system_fingerprint":"fp_1",'
        b'"choices":[{"message":{"content":"Hello","role":"assistant"},'
        b'"finish_reason":"stop","logprobs":null,"index":0},{"message":{"content":"","role":"assistant"},'
        b'"finish_reason":"length","logprobs":null,"index":1}],"usage":{"prompt_tokens":9,"completion_tokens":2,'
        b'"total_tokens":11,"prompt_tokens_details":{"cached_tokens":4}},"object":"chat.completion",'
        b'"service_tier":"default"}'
    )


BEGIN = b'data: {"id":"c","created":7,"model":"m","system_fingerprint":"fp_1","choices":['
CHUNK = b'],"object":"chat.completion.chunk"'


def test_stream_bytes():
    encoder = ChatStreamEncoder(HEAD)
    assert encoder.start() == (
        BEGIN + b'{"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null,"index":0}' + CHUNK
        + b"}\n\n"
    )  # fmt: skip
    assert encoder.event(0, ReplyStep(TokenEvent(1, ""), [])) == b""
    assert encoder.event(0, ReplyStep(TokenEvent(2, "a\u2028"), [])) == (
        BEGIN + b'{"delta":{"content":"a\\u2028"},"logprobs":null,"finish_reason":null,"index":0}' + CHUNK + b"}\n\n"
    )
    assert encoder.event(0, ReplyStep(TokenEvent(3, "b", finish_reason=FinishReason.LENGTH, usage=USAGE), [])) == (
        BEGIN + b'{"delta":{"content":"b"},"logprobs":null,"finish_reason":null,"index":0}' + CHUNK + b"}\n\n"
        + BEGIN + b'{"delta":{},"logprobs":null,"finish_reason":"length","index":0}' + CHUNK + b"}\n\n"
    )  # fmt: skip
    assert encoder.end(USAGE) == b""


def test_stream_with_usage_carries_null_until_the_last_chunk():
    encoder = ChatStreamEncoder(HEAD, include_usage=True, service_tier="default")
    assert encoder.event(0, ReplyStep(TokenEvent(2, "a"), [])).endswith(
        CHUNK + b',"usage":null,"service_tier":"default"}\n\n'
    )
    assert encoder.end(USAGE) == (
        BEGIN + CHUNK + b',"usage":{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11,'
        b'"prompt_tokens_details":{"cached_tokens":4}},"service_tier":"default"}\n\n'
    )  # fmt: skip


def chunks(frames):
    return [json.loads(event.data)["choices"][0] for event in SseDecoder().feed(frames)]


def test_choices_are_told_apart_by_their_index():
    encoder = ChatStreamEncoder(HEAD, n=2)
    assert [choice["index"] for choice in chunks(encoder.start())] == [0, 1]
    (choice,) = chunks(encoder.event(1, ReplyStep(TokenEvent(2, "a"), [])))
    assert (choice["index"], choice["delta"]) == (1, {"content": "a"})


def test_chunks_carry_the_logprobs_of_the_text_they_show():
    encoder = ChatStreamEncoder(HEAD, n=2, token_bytes=lambda token_id: b"%d" % token_id)
    assert encoder.event(0, ReplyStep(TokenEvent(1, "", logprob=-1.0), [])) == b""
    (other,) = chunks(encoder.event(1, ReplyStep(TokenEvent(9, "x", logprob=-9.0), [])))
    assert [entry["token"] for entry in other["logprobs"]["content"]] == ["9"]
    (choice,) = chunks(encoder.event(0, ReplyStep(TokenEvent(2, "a", logprob=-2.0), [])))
    assert [(entry["token"], entry["logprob"]) for entry in choice["logprobs"]["content"]] == [("1", -1.0), ("2", -2.0)]
    last = TokenEvent(3, "", logprob=-3.0, finish_reason=FinishReason.STOP, usage=USAGE)
    (end,) = chunks(encoder.event(0, ReplyStep(last, [])))
    assert (end["delta"], end["finish_reason"]) == ({}, "stop")
    assert [entry["token"] for entry in end["logprobs"]["content"]] == ["3"]
