"""Messages as literal bytes."""

from __future__ import annotations

import contextlib
import json
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvtape.errors import InvalidRequest
from kvtape.protocols.anthropic.codec import (
    PING,
    Ending,
    MessageStreamEncoder,
    decode_count_request,
    decode_message_request,
    encode_count,
    encode_message,
)
from kvtape.protocols.anthropic.conversation import Prompt
from kvtape.protocols.anthropic.models import MessageRequest
from kvtape.types import FinishReason, SamplingParams, Usage

USER = {"role": "user", "content": "Hi"}
USAGE = Usage(prompt_tokens=9, completion_tokens=2, cached_tokens=4)
END_TURN = Ending(FinishReason.STOP, USAGE, stop_sequence=None, max_tokens=5)


def decode(**fields):
    return decode_message_request(json.dumps({"messages": [USER], "max_tokens": 5, **fields}).encode())


def test_defaults():
    call = decode()
    assert call.prompt == Prompt([USER])
    assert call.params == SamplingParams(max_tokens=5, temperature=0.6, top_p=0.9)
    assert not call.stream
    assert call.template_options == {}


def test_every_sampling_field_is_honoured():
    call = decode(
        temperature=1, top_p=0.5, top_k=40, seed=3, ignore_eos=True, stop_sequences=["a", "b" * 256], stream=True
    )
    assert call.params == SamplingParams(
        max_tokens=5, temperature=1, top_p=0.5, top_k=40, seed=3, ignore_eos=True, stop=("a", "b" * 256)
    )
    assert call.stream


@pytest.mark.parametrize(
    "fields",
    [
        {"model": "whatever"}, {"metadata": {"user_id": "me"}}, {"user_profile_id": "me"}, {"service_tier": "auto"},
        {"service_tier": "standard_only"}, {"speed": "standard"}, {"tools": []}, {"tool_choice": {"type": "auto"}},
        {"tool_choice": {"type": "none"}}, {"mcp_servers": []}, {"container": None}, {"inference_geo": None},
        {"output_config": {}}, {"stop_sequences": []}, {"stream": False}, {"system": None}, {"not_known": 1},
    ],
)  # fmt: skip
def test_inert_fields_pass(fields):
    assert decode(**fields) == decode()


@pytest.mark.parametrize(
    ("fields", "options"),
    [
        ({"thinking": {"type": "disabled"}}, {"enable_thinking": False}),
        ({"output_config": {"effort": "low"}}, {"enable_thinking": False}),
        ({"output_config": {"effort": "max"}}, {"enable_thinking": True}),
        ({"output_config": {"effort": "max"}, "thinking": {"type": "disabled"}}, {"enable_thinking": False}),
    ],
)
def test_template_options(fields, options):
    assert decode(**fields).template_options == options


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"max_tokens": None}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": "many"}, "max_tokens"),
        ({"temperature": 1.5}, "temperature"),
        ({"temperature": -0.1}, "temperature"),
        ({"top_p": 2}, "top_p"),
        ({"top_k": -1}, "top_k"),
        ({"top_k": 1.5}, "top_k"),
        ({"seed": -1}, "seed"),
        ({"stop_sequences": [""]}, "stop_sequences"),
        ({"stop_sequences": ["a"] * 17}, "stop_sequences"),
        ({"stop_sequences": ["a" * 257]}, "stop_sequences"),
        ({"stop_sequences": "a"}, "stop_sequences"),
        ({"tools": [{"name": "f", "input_schema": {}}]}, "tools"),
        ({"tool_choice": {"type": "any"}}, "tool_choice"),
        ({"tool_choice": "auto"}, "tool_choice"),
        ({"thinking": {"type": "enabled", "budget_tokens": 2000}}, "thinking.type"),
        ({"thinking": {"type": "adaptive"}}, "thinking.type"),
        ({"output_config": {"effort": "huge"}}, "output_config.effort"),
        ({"output_config": {"format": {"type": "json_schema", "schema": {}}}}, "output_config.format"),
        ({"output_format": {"type": "json_schema"}}, "output_format"),
        ({"mcp_servers": [{}]}, "mcp_servers"),
        ({"context_management": {"edits": []}}, "context_management"),
        ({"compaction": {"type": "x"}}, "compaction"),
        ({"container": "c"}, "container"),
        ({"diagnostics": {"previous_message_id": None}}, "diagnostics"),
        ({"fallbacks": [{}]}, "fallbacks"),
        ({"thread": {"id": "x"}}, "thread"),
        ({"service_tier": "priority"}, "service_tier"),
        ({"inference_geo": "us"}, "inference_geo"),
        ({"speed": "fast"}, "speed"),
        ({"session_id": "sess_1"}, "session_id"),
        ({"cache_control": {"type": "forever"}}, "cache_control.type"),
        ({"metadata": "me"}, "metadata"),
        ({"messages": []}, "messages"),
        ({"system": 5}, "system"),
    ],
)
def test_refusals_name_the_parameter(fields, param):
    with pytest.raises(InvalidRequest) as caught:
        decode(**fields)
    assert caught.value.param == param


@pytest.mark.parametrize("missing", ["messages", "max_tokens"])
def test_required_fields(missing):
    body = {"messages": [USER], "max_tokens": 5}
    del body[missing]
    with pytest.raises(InvalidRequest, match=f"{missing} is required"):
        decode_message_request(json.dumps(body).encode())


def test_counting_needs_no_max_tokens_and_ignores_sampling():
    call = decode_count_request(json.dumps({"messages": [USER], "temperature": 9, "system": "S"}).encode())
    assert call.prompt.messages == [{"role": "system", "content": "S"}, USER]
    assert encode_count(7) == b'{"input_tokens":7}'
    with pytest.raises(InvalidRequest) as caught:
        decode_count_request(json.dumps({"messages": [USER], "tools": [{}]}).encode())
    assert caught.value.param == "tools"


def test_a_plain_reply_is_these_bytes():
    assert encode_message("Hello", END_TURN, message_id="msg_1", model="tiny") == (
        b'{"type":"message","id":"msg_1","model":"tiny","content":[{"type":"text","text":"Hello"}],'
        b'"usage":{"input_tokens":5,"output_tokens":2,"cache_creation_input_tokens":0,"cache_read_input_tokens":4},'
        b'"stop_reason":"end_turn","stop_sequence":null,"role":"assistant"}'
    )
    assert json.loads(encode_message("", END_TURN, message_id="msg_1", model="tiny"))["content"] == []


@pytest.mark.parametrize(
    ("reason", "stop_sequence", "max_tokens", "expected"),
    [
        (FinishReason.STOP, None, 2, "end_turn"),
        (FinishReason.STOP, "x", 2, "stop_sequence"),
        (FinishReason.LENGTH, None, 2, "max_tokens"),
        (FinishReason.LENGTH, None, 3, "model_context_window_exceeded"),
    ],
)
def test_stop_reasons(reason, stop_sequence, max_tokens, expected):
    change = Ending(reason, USAGE, stop_sequence, max_tokens).change()
    assert (change.stop_reason, change.stop_sequence) == (expected, stop_sequence)


@pytest.mark.parametrize(("n_marked", "created"), [(0, 0), (4, 0), (6, 2), (9, 5)])
def test_the_input_adds_up_to_the_prompt(n_marked, created):
    usage = Ending(FinishReason.STOP, USAGE, None, 5, n_marked).usage_body()
    assert usage.cache_creation_input_tokens == created
    assert usage.input_tokens + usage.cache_creation_input_tokens + usage.cache_read_input_tokens == 9


def test_a_stream_is_these_bytes():
    encoder = MessageStreamEncoder(message_id="msg_1", model="tiny", pings=True)
    assert encoder.start(9) == (
        b'event: message_start\ndata: {"type":"message_start","message":{"type":"message","id":"msg_1","model":"tiny",'
        b'"content":[],"usage":{"input_tokens":9,"output_tokens":0,"cache_creation_input_tokens":0,'
        b'"cache_read_input_tokens":0},"stop_reason":null,"stop_sequence":null,"role":"assistant"}}\n\n'
    )
    assert encoder.text("") == b""
    assert encoder.text("He") == (
        b'event: content_block_start\ndata: {"type":"content_block_start","index":0,'
        b'"content_block":{"type":"text","text":""}}\n\n'
        b'event: ping\ndata: {"type":"ping"}\n\n'
        b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
        b'"delta":{"type":"text_delta","text":"He"}}\n\n'
    )
    assert encoder.text("\u2028") == (
        b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
        b'"delta":{"type":"text_delta","text":"\\u2028"}}\n\n'
    )
    assert encoder.finish(Ending(FinishReason.STOP, USAGE, "END", 5)) == (
        b'event: content_block_stop\ndata: {"type":"content_block_stop","index":0}\n\n'
        b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"stop_sequence",'
        b'"stop_sequence":"END"},"usage":{"input_tokens":5,"output_tokens":2,"cache_creation_input_tokens":0,'
        b'"cache_read_input_tokens":4}}\n\n'
        b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
    )


def test_a_stream_without_pings_or_text():
    encoder = MessageStreamEncoder(message_id="msg_1", model="tiny", pings=False)
    assert PING not in encoder.text("x")
    empty = MessageStreamEncoder(message_id="msg_1", model="tiny", pings=True)
    assert b"content_block" not in empty.start(9) + empty.finish(END_TURN)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
BLOCK = st.fixed_dictionaries(
    {"type": st.sampled_from(["text", "thinking", "redacted_thinking", "image", "tool_use"]) | JSON},
    optional={"text": JSON, "thinking": JSON, "cache_control": st.just({"type": "ephemeral"}) | JSON},
)
CONTENT = st.text() | st.lists(BLOCK, max_size=3) | JSON
TURN = st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant", "system"]), "content": CONTENT})
FIELDS = {name: JSON for name in MessageRequest.__struct_fields__ if name not in ("messages", "max_tokens")}


@settings(max_examples=300, deadline=None)
@given(
    st.fixed_dictionaries(
        {"messages": st.lists(TURN, max_size=4) | JSON, "max_tokens": st.just(5)},
        optional={**FIELDS, "system": CONTENT},
    )
)
def test_whatever_comes_is_read_or_refused(body):
    with contextlib.suppress(InvalidRequest):
        prompt = decode_message_request(json.dumps(body).encode()).prompt
        assert all(message["role"] != other["role"] for message, other in pairwise(prompt.messages))
        assert prompt.prefill == prompt.prefill.rstrip()
