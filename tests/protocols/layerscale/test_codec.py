"""LayerScale requests and frames as literal bytes."""

from __future__ import annotations

import json

import pytest
from msgspec import UNSET, defstruct

from kvtape.errors import InvalidRequest
from kvtape.protocols.layerscale import models
from kvtape.protocols.layerscale.codec import (
    decode_append,
    decode_create,
    decode_flash,
    decode_generate,
    decode_push,
    encode_frame,
    encode_session_event,
)
from kvtape.types import SamplingParams


def dump(value):
    return json.dumps(value).encode()


def test_create_defaults():
    call = decode_create(b'{"type": "ohlcv"}')
    assert (call.type, call.prompt, call.context, call.flash, call.mark_prefix) == ("ohlcv", "", None, (), False)


def test_create_reads_every_field_and_alias():
    call = decode_create(
        dump(
            {
                "type": "ohlcv", "prompt": "p", "contextSize": 512, "windowSize": 0, "markPrefix": True,
                "flash": ["plain", {"query": "a", "max_tokens": 900}, {"query": "b", "maxTokens": 0}],
            }
        )
    )  # fmt: skip
    assert call.flash == (("plain", 32), ("a", 256), ("b", 1))
    assert (call.context, call.mark_prefix, call.prompt) == (512, True, "p")
    assert decode_create(b'{"type": "ohlcv", "context_size": 7}').context == 7
    assert decode_create(b'{"type": "ohlcv", "context_size": 7, "context": 8}').context == 8


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "type"),
        ({"type": "weather"}, "type"),
        ({"type": "IOT"}, "type"),
        ({"type": "ohlcv", "window_size": 100}, "window_size"),
        ({"type": "ohlcv", "windowSize": 100}, "window_size"),
        ({"type": "ohlcv", "context": 0}, "context"),
        ({"type": "ohlcv", "context": "big"}, "context"),
        ({"type": "ohlcv", "flash": [{"query": " "}]}, "flash[0].query"),
        ({"type": "ohlcv", "flash": ["a", {}]}, "flash[1].query"),
        ({"type": "ohlcv", "prompt": 5}, "prompt"),
    ],
)
def test_create_refusals(body, param):
    with pytest.raises(InvalidRequest) as caught:
        decode_create(dump(body))
    assert caught.value.param == param


def test_generate_defaults_are_greedy():
    call = decode_generate(b"{}")
    assert call.params == SamplingParams(max_tokens=256, temperature=0.0, top_p=1.0)
    assert (call.prompt, call.stream, call.fast_answer, call.clear_after) == (None, False, None, False)


def test_generate_reads_every_field_and_alias():
    call = decode_generate(
        dump(
            {
                "prompt": "q", "stream": True, "maxTokens": 8, "temperature": 0.5, "top_p": 0.9, "seed": 4,
                "stop": ["\n"], "fastAnswer": True, "clearAfter": 1, "ignore_eos": True, "messages": [], "tools": None,
            }
        )
    )  # fmt: skip
    assert call.params == SamplingParams(
        max_tokens=8, temperature=0.5, top_p=0.9, seed=4, stop=("\n",), ignore_eos=True
    )
    assert (call.prompt, call.stream, call.fast_answer, call.clear_after) == ("q", True, True, True)
    assert decode_generate(b'{"fast_answer": false}').fast_answer is False


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"messages": [{"role": "user", "content": "x"}]}, "messages"),
        ({"tools": [{}]}, "tools"),
        ({"fast_answer": ["up", "down"]}, "fast_answer"),
        ({"gap_threshold": 2.0}, "gap_threshold"),
        ({"clear_after": -1}, "clear_after"),
        ({"prompt": ""}, "prompt"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"temperature": 3}, "temperature"),
        ({"reasoning_effort": "low"}, "reasoning_effort"),
    ],
)
def test_generate_refusals(body, param):
    with pytest.raises(InvalidRequest) as caught:
        decode_generate(dump(body))
    assert caught.value.param == param


def test_push_decodes_rows_as_the_type_it_is_given():
    kind = defstruct("Kind", [("o", float)])
    assert decode_push(b'{"data": [{"o": 1, "x": 2}], "y": 3}', kind) == [kind(1.0)]
    assert decode_push(b'{"data": [{"o": 1}, {"o": "x"}]}', kind) == [{"o": 1}, {"o": "x"}]
    for body, param in [(b"{}", "data"), (b'{"data": {}}', "data"), (b'{"data": [', None), (b"\xff", None)]:
        with pytest.raises(InvalidRequest) as caught:
            decode_push(body, kind)
        assert caught.value.param == param


def test_small_requests():
    assert decode_append(b'{"text": "abc"}') == "abc"
    assert decode_push(b'{"data": [{"o": 1}]}') == [{"o": 1}]
    assert decode_flash(b'{"query": "q"}') == ("q", 32)
    assert decode_flash(b'{"query": "q", "maxTokens": 300}') == ("q", 256)
    for decoder, body, param in [
        (decode_append, b"{}", "text"),
        (decode_push, b'{"data": {}}', "data"),
        (decode_flash, b'{"query": "  "}', "query"),
    ]:
        with pytest.raises(InvalidRequest) as caught:
            decoder(body)
        assert caught.value.param == param


def test_generate_frames():
    assert encode_frame(models.GenerateToken("Up", "Up", 41)) == (
        b'data: {"token":"Up","text":"Up","pos":41,"done":false}\n\n'
    )
    final = models.Generated(
        done=True, text="Up", finish_reason="stop", n_tokens=1, total_tokens=42, pos_max=41, id="gen_1",
        session_id="sess_1", data_version=3, usage=models.GenerateUsage(0, 0), flash=True, flash_id=2, confidence=1.5,
    )  # fmt: skip
    assert encode_frame(final) == (
        b'data: {"done":true,"text":"Up","finish_reason":"stop","n_tokens":1,"total_tokens":42,"pos_max":41,'
        b'"id":"gen_1","object":"session.generation","session_id":"sess_1","data_version":3,'
        b'"usage":{"prompt_tokens":0,"completion_tokens":0},"flash":true,"flash_id":2,"confidence":1.5}\n\n'
    )
    final.flash = final.flash_id = final.confidence = UNSET
    assert b"flash" not in encode_frame(final)
    assert b"confidence" not in encode_frame(final)


def test_event_frames():
    assert encode_session_event(models.Connected("s", 2, 1, True)) == (
        b'event: connected\ndata: {"type":"connected","session_id":"s","data_version":2,"flash_queries":1,'
        b'"streaming":true}\n\n'
    )
    assert encode_session_event(models.DataUpdated(3, 90, 0, 5, 90)) == (
        b'event: data_updated\ndata: {"type":"data_updated","data_version":3,"tokens":90,"pending":0,'
        b'"data_count":5,"pos_next":90}\n\n'
    )
    assert encode_session_event(models.FlashReady(1, "q\u2028", "Yes", 3, 2.5, 1700000000)) == (
        b'event: flash_ready\ndata: {"type":"flash_ready","id":1,"query":"q\\u2028","value":"Yes","data_version":3,'
        b'"confidence":2.5,"evaluated_at":1700000000}\n\n'
    )
