"""Log-probabilities on the wire."""

from __future__ import annotations

import msgspec

from kvtape.protocols.openai.logprobs import TextLogprobsEncoder, WithText, encode_chat_logprobs
from kvtape.types import FinishReason, TokenEvent, TopLogprob

EURO = "€".encode()
SPELLING = {1: EURO[:2], 2: EURO[2:], 3: b"ab", 4: b"", 5: EURO[:1]}
EVENTS = [
    TokenEvent(3, "ab", logprob=-0.5),
    TokenEvent(1, "", logprob=-0.5, top_logprobs=(TopLogprob(2, -0.25), TopLogprob(1, float("-inf")))),
    TokenEvent(2, "€", logprob=-1.0, top_logprobs=(TopLogprob(5, -0.5), TopLogprob(1, -0.75))),
    TokenEvent(4, "", logprob=-2.0, finish_reason=FinishReason.STOP),
]


def test_chat_shows_incomplete_characters():
    assert msgspec.to_builtins(encode_chat_logprobs(EVENTS[1:3], SPELLING.__getitem__)) == {
        "content": [
            {
                "token": "\ufffd", "logprob": -0.5, "bytes": [226, 130],
                "top_logprobs": [
                    {"token": "\ufffd", "logprob": -0.25, "bytes": [172]},
                    {"token": "\ufffd", "logprob": -9999.0, "bytes": [226, 130]},
                ],
            },
            {
                "token": "\ufffd", "logprob": -1.0, "bytes": [172],
                "top_logprobs": [
                    {"token": "\ufffd", "logprob": -0.5, "bytes": [226]},
                    {"token": "\ufffd", "logprob": -0.75, "bytes": [226, 130]},
                ],
            },
        ]
    }  # fmt: skip


TEXT_FORM = {
    "tokens": ["ab", "bytes:\\xe2\\x82", "bytes:\\xac", ""],
    "token_logprobs": [-0.5, -0.5, -1.0, -2.0],
    "top_logprobs": [
        {"ab": -0.5},
        {"bytes:\\xac": -0.25, "bytes:\\xe2\\x82": -9999.0},
        {"bytes:\\xe2": -0.5, "bytes:\\xe2\\x82": -0.75, "bytes:\\xac": -1.0},
        {"": -2.0},
    ],
    "text_offset": [0, 2, 2, 3],
}


def test_text_keeps_incomplete_characters_apart_and_names_the_drawn_token():
    assert msgspec.to_builtins(TextLogprobsEncoder(SPELLING.__getitem__).encode(EVENTS)) == TEXT_FORM


def test_text_may_be_cut_anywhere():
    encoder = TextLogprobsEncoder(SPELLING.__getitem__)
    pieces = [msgspec.to_builtins(encoder.encode([event])) for event in EVENTS]
    assert {name: [entry for piece in pieces for entry in piece[name]] for name in TEXT_FORM} == TEXT_FORM


def test_events_wait_for_their_text_or_the_end():
    held = WithText()
    assert [held.push(event) for event in EVENTS] == [[EVENTS[0]], [], EVENTS[1:3], [EVENTS[3]]]
