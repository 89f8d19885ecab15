"""Creations of sessions and flash queries as literal bytes."""

from __future__ import annotations

import json

import pytest

from kvtape.errors import InvalidRequest
from kvtape.protocols.layerscale.create import CreateCall, FlashCall, decode_create, decode_flash
from kvtape.protocols.layerscale.models import SharedRingInit


def dump(value):
    return json.dumps(value).encode()


NOTHING = {
    "prompt": "", "context": None, "window": None, "flash": (), "mark_prefix": False, "id": None, "pre_decode": False,
    "overflow": None, "shared_ring": None,
}  # fmt: skip


def test_what_is_left_out():
    assert decode_create(b'{"type": "iot"}', wire=1) == CreateCall(type="iot", **NOTHING)
    for body in (b"{}", b"", b'{"type": "text"}', b'{"id": null, "window": null, "pre_decode": false, "new": 1}'):
        assert decode_create(body, wire=2) == CreateCall(type="text", **NOTHING)


def test_what_the_second_generation_says():
    call = decode_create(b'{"id": "desk-1", "pre_decode": true, "window": 2048, "overflow": "conflate"}', wire=2)
    fields = {**NOTHING, "id": "desk-1", "pre_decode": True, "window": 2048, "overflow": "conflate"}
    assert call == CreateCall(type="text", **fields)


def test_a_shared_ring():
    call = decode_create(b'{"type": "iot", "shared_ring": {"name": "desk", "names": {"sid": ["a"]}}}', wire=1)
    assert call.shared_ring == SharedRingInit("desk", {"sid": ["a"]}, 4096)
    with pytest.raises(InvalidRequest) as caught:
        decode_create(b'{"type": "iot", "shared_ring": {"names": {"sid": ["a"]}}}', wire=1)
    assert caught.value.param == "shared_ring.name"


def test_every_field_and_alias_of_the_first_generation():
    call = decode_create(
        dump(
            {
                "type": "ohlcv", "prompt": "p", "contextSize": 512, "windowSize": 300, "markPrefix": True,
                "flash": [
                    "plain", {"query": "a", "max_tokens": 900}, {"query": "b", "maxTokens": 0},
                    {"query": "c", "choices": ["Yes", "No"]},
                ],
            }
        ),
        wire=1,
    )  # fmt: skip
    assert call.flash == (
        FlashCall("plain", 32), FlashCall("a", 256), FlashCall("b", 1), FlashCall("c", 32, ("Yes", "No")),
    )  # fmt: skip
    assert (call.context, call.window, call.mark_prefix, call.prompt) == (512, 300, True, "p")
    assert decode_create(b'{"type": "ohlcv", "context_size": 7}', wire=1).context == 7
    assert decode_create(b'{"type": "ohlcv", "context_size": 7, "context": 8}', wire=1).context == 8
    for name in ("window_size", "windowSize", "window"):
        assert decode_create(dump({"type": "ohlcv", name: 64}), wire=1).window == 64
        assert decode_create(dump({"type": "ohlcv", name: 0}), wire=1).window is None
    assert decode_create(b'{"type": "ohlcv", "windowSize": 1, "window_size": 2, "window": 3}', wire=1).window == 2


@pytest.mark.parametrize("wire", [1, 2])
@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"type": "weather"}, "type"),
        ({"type": 7}, "type"),
        ({"window_size": -1}, "window_size"),
        ({"windowSize": -1}, "window_size"),
        ({"window": -1}, "window"),
        ({"window": 1.5}, "window"),
        ({"context": 0}, "context"),
        ({"context": "big"}, "context"),
        ({"flash": [{"query": " "}]}, "flash[0].query"),
        ({"flash": ["a", {}]}, "flash[1].query"),
        ({"flash": [{"query": "a", "choices": ["x", 7]}]}, "flash[0].choices[1]"),
        ({"prompt": 5}, "prompt"),
        ({"id": 5}, "id"),
        ({"pre_decode": "yes"}, "pre_decode"),
        ({"overflow": "explode"}, "overflow"),
    ],
)
def test_refusals(wire, fields, param):
    with pytest.raises(InvalidRequest) as caught:
        decode_create(dump({**({"type": "ohlcv"} if wire == 1 else {}), **fields}), wire=wire)
    assert caught.value.param == param


@pytest.mark.parametrize(("wire", "kind"), [(1, None), (1, "IOT"), (1, "text"), (2, "ohlcv")])
def test_a_type_belongs_to_its_generation(wire, kind):
    with pytest.raises(InvalidRequest) as caught:
        decode_create(dump({"type": kind}), wire=wire)
    assert caught.value.param == "type"


def test_flash_queries():
    assert decode_flash(b'{"query": "q"}') == FlashCall("q", 32)
    assert decode_flash(b'{"query": "q", "maxTokens": 300}') == FlashCall("q", 256)
    assert decode_flash(b'{"query": "q", "max_tokens": -1, "choices": ["up", "down"]}') == FlashCall(
        "q", 1, ("up", "down")
    )


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"query": "  "}, "query"),
        ({"query": None}, "query"),
        ({"max_tokens": "many"}, "max_tokens"),
        ({"choices": "Yes"}, "choices"),
        ({"choices": ["Yes", 7]}, "choices[1]"),
    ],
)
def test_refusals_of_flash_queries(fields, param):
    with pytest.raises(InvalidRequest) as caught:
        decode_flash(dump({"query": "q", **fields}))
    assert caught.value.param == param
