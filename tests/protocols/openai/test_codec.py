"""Chat completions as literal bytes."""

from __future__ import annotations

import json

import pytest

from kvtape.errors import InvalidRequest
from kvtape.protocols.openai.codec import ChatStreamEncoder, decode_chat_request, encode_completion
from kvtape.types import FinishReason, SamplingParams, TokenEvent, TopLogprob, Usage

USER = {"role": "user", "content": "Hi"}
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
        {"n": 1}, {"tools": []}, {"tools": None}, {"tool_choice": "auto"}, {"parallel_tool_calls": False},
        {"response_format": {"type": "text"}}, {"user": "me"}, {"metadata": {}}, {"store": True},
        {"frequency_penalty": 0}, {"logit_bias": {}}, {"modalities": ["text"]}, {"include_reasoning": False},
        {"model": "whatever"}, {"stream": False},
    ],
)  # fmt: skip
def test_inert_fields_pass(fields):
    assert decode(**fields).params == SamplingParams(temperature=0.6, top_p=0.9)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 2}, "n"),
        ({"tools": [{}]}, "tools"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"functions": [{}]}, "functions"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"audio": {}}, "audio"),
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


def test_completion_bytes():
    events = [TokenEvent(5, "Hel"), TokenEvent(6, "lo", finish_reason=FinishReason.STOP, usage=USAGE)]
    assert encode_completion(events, completion_id="chatcmpl-1", created=7, model="m") == (
        b'{"id":"chatcmpl-1","created":7,"model":"m","choices":[{"message":{"content":"Hello","role":"assistant"},'
        b'"finish_reason":"stop","logprobs":null,"index":0}],"usage":{"prompt_tokens":9,"completion_tokens":2,'
        b'"total_tokens":11,"prompt_tokens_details":{"cached_tokens":4}},"object":"chat.completion"}'
    )


def test_logprobs_show_incomplete_characters():
    euro = "€".encode()
    events = [
        TokenEvent(1, "", logprob=-0.5, top_logprobs=(TopLogprob(2, -0.25), TopLogprob(1, float("-inf")))),
        TokenEvent(2, "€", logprob=-1.0, finish_reason=FinishReason.LENGTH, usage=USAGE),
    ]
    spelling = {1: euro[:2], 2: euro[2:]}
    body = json.loads(
        encode_completion(events, completion_id="c", created=7, model="m", token_bytes=spelling.__getitem__)
    )
    assert body["choices"][0]["logprobs"]["content"] == [
        {
            "token": "\ufffd", "logprob": -0.5, "bytes": [226, 130],
            "top_logprobs": [
                {"token": "\ufffd", "logprob": -0.25, "bytes": [172]},
                {"token": "\ufffd", "logprob": -9999.0, "bytes": [226, 130]},
            ],
        },
        {"token": "\ufffd", "logprob": -1.0, "bytes": [172], "top_logprobs": []},
    ]  # fmt: skip


HEAD = b'data: {"id":"c","created":7,"model":"m","choices":['
CHUNK = b'],"object":"chat.completion.chunk"'


def test_stream_bytes():
    encoder = ChatStreamEncoder(completion_id="c", created=7, model="m")
    assert encoder.start() == (
        HEAD + b'{"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null,"index":0}' + CHUNK
        + b"}\n\n"
    )  # fmt: skip
    assert encoder.token(TokenEvent(1, "")) == b""
    assert encoder.token(TokenEvent(2, "a\u2028")) == (
        HEAD + b'{"delta":{"content":"a\\u2028"},"logprobs":null,"finish_reason":null,"index":0}' + CHUNK + b"}\n\n"
    )
    assert encoder.finish(FinishReason.LENGTH, USAGE) == (
        HEAD + b'{"delta":{},"logprobs":null,"finish_reason":"length","index":0}' + CHUNK + b"}\n\n"
    )


def test_stream_with_usage_carries_null_until_the_last_chunk():
    encoder = ChatStreamEncoder(completion_id="c", created=7, model="m", include_usage=True)
    assert encoder.token(TokenEvent(2, "a")).endswith(CHUNK + b',"usage":null}\n\n')
    end, last = encoder.finish(FinishReason.STOP, USAGE).removesuffix(b"\n\n").split(b"\n\n")
    assert end.endswith(CHUNK + b',"usage":null}')
    assert last == (
        HEAD + CHUNK + b',"usage":{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11,'
        b'"prompt_tokens_details":{"cached_tokens":4}}}'
    )  # fmt: skip


def test_stream_sends_all_logprobs_at_the_end():
    encoder = ChatStreamEncoder(completion_id="c", created=7, model="m", token_bytes=lambda token_id: b"%d" % token_id)
    assert b'"logprobs":null' in encoder.token(TokenEvent(4, "a", logprob=-0.5))
    assert b'"logprobs":{"content":[{"token":"4","logprob":-0.5,"bytes":[52],"top_logprobs":[]}]}' in encoder.finish(
        FinishReason.STOP, USAGE
    )
