"""Messages of a session's WebSocket, literal bytes."""

from __future__ import annotations

import json

import pytest

from kvtape.errors import Conflict, InvalidRequest
from kvtape.protocols.layerscale import models
from kvtape.protocols.layerscale.socket import (
    CloseMessage,
    PingMessage,
    PushMessage,
    decode_message,
    encode_error,
    encode_event,
    encode_pong,
)
from kvtape.session.row_types import ROW_TYPES

ROW = '{"o":1,"h":2,"l":0.5,"c":1.5,"v":10}'


def test_rows_come_typed():
    message = decode_message('{"type":"push","data":[' + ROW + "]}", ROW_TYPES["ohlcv"].model)
    assert isinstance(message, PushMessage)
    assert isinstance(message.data[0], ROW_TYPES["ohlcv"].model)


def test_rows_that_do_not_fit_come_as_they_are_for_the_schema_to_refuse():
    message = decode_message('{"type":"push","data":[{"o":"x"},3]}', ROW_TYPES["ohlcv"].model)
    assert message == PushMessage([{"o": "x"}, 3])


def test_text_comes_as_it_is():
    row_model = ROW_TYPES["ohlcv"].model
    for model in (row_model, None):
        decode = decode_message if model is None else lambda text: decode_message(text, row_model)
        assert decode('{"type":"push","data":"a line"}') == PushMessage("a line")
        assert decode('{"type":"push","data":["a line",""]}') == PushMessage(["a line", ""])
    line, row = decode_message('{"type":"push","data":["a line",' + ROW + "]}", row_model).data
    assert (line, type(row)) == ("a line", row_model)


@pytest.mark.parametrize(("kind", "wanted"), [("ping", PingMessage), ("close", CloseMessage)])
def test_the_other_messages(kind, wanted):
    assert isinstance(decode_message(json.dumps({"type": kind, "more": 1}), ROW_TYPES["ohlcv"].model), wanted)


@pytest.mark.parametrize(
    ("text", "param"),
    [
        ("", None),
        ("{", None),
        ("[]", None),
        ("[" * 100_000, None),
        ('"\ud800"', None),
        ("{}", "type"),
        ('{"type":7}', "type"),
        ('{"type":"pull"}', "type"),
        ('{"type":"push"}', "data"),
        ('{"type":"push","data":{}}', "data"),
    ],
)
def test_what_is_no_message(text, param):
    with pytest.raises(InvalidRequest) as caught:
        decode_message(text, ROW_TYPES["ohlcv"].model)
    assert caught.value.param == param


def test_what_the_server_sends():
    assert encode_event(models.Connected("s", 3, 1, True)) == (
        '{"type":"connected","data":{"type":"connected","session_id":"s","data_version":3,"flash_queries":1,'
        '"streaming":true}}'
    )
    ack = json.loads(encode_event(models.PushResult(1, 0, 1, 16, 1, 0, 1, 64, 1, 3)))
    assert ack["type"] == "push_ack"
    assert ack["data"]["pushed"] == 1
    assert encode_pong() == '{"type":"pong","data":{}}'
    assert json.loads(encode_error(Conflict("busy"))) == {"type": "error", "data": {"message": "busy", "code": 409}}
    refused = json.loads(encode_error(InvalidRequest("no number", param="data[0].o")))
    assert refused["data"] == {"message": "no number", "code": 400, "param": "data[0].o"}
