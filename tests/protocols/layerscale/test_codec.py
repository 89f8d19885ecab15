"""LayerScale requests and frames as literal bytes."""

from __future__ import annotations

import pytest
from msgspec import UNSET, defstruct

from kvtape.errors import InvalidRequest
from kvtape.protocols.layerscale import models
from kvtape.protocols.layerscale.codec import (
    decode_append,
    decode_push,
    encode_frame,
    encode_session_event,
)


def test_push_decodes_rows_as_the_type_it_is_given():
    kind = defstruct("Kind", [("o", float)])
    assert decode_push(b'{"data": [{"o": 1, "x": 2}], "y": 3}', kind) == [kind(1.0)]
    assert decode_push(b'{"data": [{"o": 1}, {"o": "x"}]}', kind) == [{"o": 1}, {"o": "x"}]
    assert decode_push(b'{"data": ["a line", {"o": 1}]}', kind) == ["a line", kind(1.0)]
    assert decode_push(b'{"data": "a line"}', kind) == decode_push(b'{"data": "a line"}') == "a line"
    assert decode_push(b'{"data": ["a line", {"o": 1}, 7]}') == ["a line", {"o": 1}, 7]
    for body, param in [
        (b"{}", "data"),
        (b'{"data": {}}', "data"),
        (b'{"data": null}', "data"),
        (b'{"data": [', None),
        (b'{"data": "\\ud800"}', None),  # half a character
        (b"\xff", None),
    ]:
        with pytest.raises(InvalidRequest) as caught:
            decode_push(body, kind)
        assert caught.value.param == param


def test_an_empty_list_may_be_refused():
    assert decode_push(b'{"data": []}') == []
    assert decode_push(b'{"data": ""}', may_be_empty=False) == ""
    assert decode_push(b'{"data": [""]}', may_be_empty=False) == [""]
    with pytest.raises(InvalidRequest) as caught:
        decode_push(b'{"data": []}', may_be_empty=False)
    assert caught.value.param == "data"


def test_append():
    assert decode_append(b'{"text": "abc"}') == "abc"
    with pytest.raises(InvalidRequest) as caught:
        decode_append(b"{}")
    assert caught.value.param == "text"


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


# Characters that the older clients split lines at; JSON escapes those below U+0020 by itself.
LINE_BREAKS = "\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"
ESCAPED = rb"\n\r\u000b\f\u001c\u001d\u001e\u0085\u2028\u2029"


def test_a_payload_is_one_line_whatever_it_says():
    frame = encode_frame(models.GenerateToken(f"a{LINE_BREAKS}z", "b", 1))
    assert frame == b'data: {"token":"a' + ESCAPED + b'z","text":"b","pos":1,"done":false}\n\n'
    frame = encode_session_event(models.FlashReady(1, LINE_BREAKS, LINE_BREAKS, 3, 2.5, 7))
    assert frame == (
        b'event: flash_ready\ndata: {"type":"flash_ready","id":1,"query":"' + ESCAPED + b'","value":"' + ESCAPED
        + b'","data_version":3,"confidence":2.5,"evaluated_at":7}\n\n'
    )  # fmt: skip
    assert len(frame.decode().splitlines()) == 3  # as those clients split it


def test_frames_keep_every_other_character():
    frame = encode_frame(models.GenerateToken("\u00e9\U0001f600\u2027\u202a\x84", "", 1))
    assert frame == 'data: {"token":"\u00e9\U0001f600\u2027\u202a\x84","text":"","pos":1,"done":false}\n\n'.encode()


def test_the_two_kinds_of_hits_are_marked():
    hit = models.Generated(
        text="Up", finish_reason="stop", n_tokens=0, total_tokens=42, pos_max=41, id="gen_1", session_id="sess_1",
        data_version=3, usage=models.GenerateUsage(0, 0), speculative=True, logit_gap=2.5,
    )  # fmt: skip
    assert encode_frame(hit) == (
        b'data: {"text":"Up","finish_reason":"stop","n_tokens":0,"total_tokens":42,"pos_max":41,"id":"gen_1",'
        b'"object":"session.generation","session_id":"sess_1","data_version":3,'
        b'"usage":{"prompt_tokens":0,"completion_tokens":0},"speculative":true,"logit_gap":2.5}\n\n'
    )


def test_event_frames():
    assert encode_session_event(models.Connected("s", 2, 1, True)) == (
        b'event: connected\ndata: {"type":"connected","session_id":"s","data_version":2,"flash_queries":1,'
        b'"streaming":true}\n\n'
    )
    assert encode_session_event(models.DataUpdated(3, 90, 0, 5, 90, 2)) == (
        b'event: data_updated\ndata: {"type":"data_updated","data_version":3,"tokens":90,"pending":0,'
        b'"data_count":5,"pos_next":90,"total_dropped":2}\n\n'
    )
    assert encode_session_event(models.FlashReady(1, "q\u2028", "Yes", 3, 2.5, 1700000000)) == (
        b'event: flash_ready\ndata: {"type":"flash_ready","id":1,"query":"q\\u2028","value":"Yes","data_version":3,'
        b'"confidence":2.5,"evaluated_at":1700000000}\n\n'
    )
    chosen = models.FlashReady(1, "q", "Yes", 3, 2.5, 7, {"Yes": 0.75, "No": 0.25})
    assert encode_session_event(chosen, 4) == (
        b'event: flash_ready\ndata: {"type":"flash_ready","id":1,"query":"q","value":"Yes","data_version":3,'
        b'"confidence":2.5,"evaluated_at":7,"probabilities":{"Yes":0.75,"No":0.25}}\nid: 4\n\n'
    )
