"""Literal bytes of the framing, and the decoder fed with every cut of them."""

from __future__ import annotations

import pytest

from kvtape.protocols.sse import DONE, HEARTBEAT, SseDecoder, SseEvent, encode_event


def test_frames_are_these_bytes():
    assert encode_event(b'{"n":1}') == b'data: {"n":1}\n\n'
    assert encode_event(b'{"n":1}', event="delta") == b'event: delta\ndata: {"n":1}\n\n'
    assert DONE == b"data: [DONE]\n\n"
    assert HEARTBEAT == b": heartbeat\n\n"


@pytest.mark.parametrize(
    ("character", "escaped"), [("\u0085", b"\\u0085"), ("\u2028", b"\\u2028"), ("\u2029", b"\\u2029")]
)
def test_characters_that_clients_split_lines_at_are_escaped(character, escaped):
    frame = encode_event(f'{{"text":"a{character}b"}}'.encode())
    assert frame == b'data: {"text":"a' + escaped + b'b"}\n\n'
    assert frame.decode().splitlines() == [frame.decode().rstrip("\n"), ""]


def test_other_characters_stay_as_they_are():
    text = "é € \u2027 \u202a 日本 🙂".encode()
    assert encode_event(text) == b"data: " + text + b"\n\n"


@pytest.mark.parametrize("payload", [b"a\nb", b"a\rb", b"a\r\n"])
def test_a_payload_of_two_lines_is_refused(payload):
    with pytest.raises(ValueError, match="one line"):
        encode_event(payload)
    with pytest.raises(ValueError, match="one line"):
        encode_event(b"{}", event=payload.decode())


STREAM = (
    b'\xef\xbb\xbf: hello\n\nevent: connected\ndata: {"a": "\xc3\xa9\xe2\x82\xac"}\n\n'
    b"data: one\r\ndata: two\r\n\r\nid: 4\rdata:tight\r\rretry: 5\nevent: nothing\n\n"
    b"data\n\ndata: [DONE]\n\ndata: never finished\n"
)
EVENTS = [
    SseEvent('{"a": "é€"}', "connected"),
    SseEvent("one\ntwo"),
    SseEvent("tight", id="4"),
    SseEvent("", id="4"),
    SseEvent("[DONE]", id="4"),
]


@pytest.mark.parametrize("cut", range(len(STREAM) + 1))
def test_decoder_reads_the_same_events_at_every_cut(cut):
    decoder = SseDecoder()
    assert decoder.feed(STREAM[:cut]) + decoder.feed(STREAM[cut:]) == EVENTS


def test_decoder_reads_byte_by_byte():
    decoder = SseDecoder()
    assert [event for byte in STREAM for event in decoder.feed(bytes([byte]))] == EVENTS


def test_a_number_is_a_line_of_its_own_and_stays_the_last_one_of_the_decoder():
    frame = encode_event(b"{}", event="x", number=17) + encode_event(b"1") + encode_event(b"2", number=18)
    assert frame == b"event: x\ndata: {}\nid: 17\n\ndata: 1\n\ndata: 2\nid: 18\n\n"
    assert [event.id for event in SseDecoder().feed(frame)] == ["17", "17", "18"]


def test_decoder_reads_what_the_encoder_writes():
    frame = encode_event('{"t":"\u2028\u0085"}'.encode(), event="x") + HEARTBEAT + DONE
    assert SseDecoder().feed(frame) == [SseEvent('{"t":"\\u2028\\u0085"}', "x"), SseEvent("[DONE]")]
