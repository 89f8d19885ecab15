"""Messages of a WebSocket without one."""

from __future__ import annotations

import msgspec
import pytest

from kvtape.client.errors import Disconnected, StatusError, Unacknowledged
from kvtape.client.layerscale.exchange import MAX_MESSAGE_BYTES, Exchange, Reply
from kvtape.client.layerscale.trail import Trail
from kvtape.client.retry import Backoff
from kvtape.errors import ContextOverflow, InvalidRequest, NotFound, Overloaded

CONNECTED = '{"type":"connected","data":{"session_id":"s","data_version":0,"flash_queries":0,"streaming":true},"id":%d}'
ACK = (
    '{"type":"push_ack","data":{"pushed":%d,"dropped":0,"queue_size":0,"queue_capacity":9,"total_enqueued":3,'
    '"total_dropped":0,"pending":0,"pending_bytes":0,"total_pushed":3,"data_version":0}}'
)


@pytest.fixture
def exchange():
    return Exchange("a b", Trail(Backoff(first=1.0, most=1.0, tries=3)))


def expect(exchange, *data):
    replies = [Reply(item) for item in data]
    for reply in replies:
        exchange.expect(reply)
    return replies


def test_messages_go_out_as_specified(exchange):
    assert exchange.encode([{"o": 1}]) == '{"type":"push","data":[{"o":1}]}'
    assert exchange.encode("text") == '{"type":"push","data":"text"}'
    assert exchange.encode(("a", {"o": 1})) == '{"type":"push","data":["a",{"o":1}]}'
    assert exchange.encode(None) == '{"type":"ping"}'
    room = MAX_MESSAGE_BYTES - len('{"type":"push","data":""}')
    assert len(exchange.encode("x" * room)) == MAX_MESSAGE_BYTES
    with pytest.raises(InvalidRequest):
        exchange.encode("x" * (room + 1))


def test_the_path_goes_on_behind_the_last_event(exchange):
    assert exchange.path() == "/v1/sessions/a%20b/ws"
    exchange.receive(CONNECTED % 3)
    assert exchange.path() == "/v1/sessions/a%20b/ws?last_event_id=3"
    exchange.trail.changes_only = True
    assert exchange.path() == "/v1/sessions/a%20b/ws?changes_only=true&last_event_id=3"


def test_answers_come_in_order_and_events_between_them(exchange):
    first, second, third, fourth = expect(exchange, ["a"], None, ["b"], ["c"])
    for text in (
        ACK % 1,
        CONNECTED % 0,
        '{"type":"pong","data":{}}',
        '{"type":"news","data":{"of":"tomorrow"}}',
        '{"type":"error","data":{"message":"no such row","code":400,"param":"data[0].o"}}',
        ACK % 2,
    ):
        exchange.receive(text)
    assert first.result.pushed == 1
    assert second.is_there
    assert (second.result, second.error) == (None, None)
    assert isinstance(third.error, InvalidRequest)
    assert (str(third.error), third.error.param) == ("no such row", "data[0].o")
    assert fourth.result.pushed == 2
    assert exchange.take_event().session_id == "s"
    assert not exchange.has_news()


@pytest.mark.parametrize(("code", "kind"), [(404, NotFound), (500, StatusError), (503, Overloaded)])
def test_an_error_has_the_status_it_would_have_had(exchange, code, kind):
    (reply,) = expect(exchange, ["a"])
    exchange.receive(msgspec.json.encode({"type": "error", "data": {"message": "m", "code": code}}))
    assert isinstance(reply.error, kind)


def test_an_overflow_is_known_by_its_words(exchange):
    (reply,) = expect(exchange, ["a"])
    exchange.receive('{"type":"error","data":{"message":"prompt is too long: 9 tokens > 8 maximum","code":400}}')
    assert isinstance(reply.error, ContextOverflow)


def test_what_was_in_flight_when_the_connection_broke_is_said(exchange):
    exchange.receive(CONNECTED % 0)
    push, ping = expect(exchange, ["a"], None)
    assert 0.5 <= exchange.broken(None) <= 1.0
    assert isinstance(push.error, Unacknowledged)
    assert push.error.data == ["a"]
    assert type(ping.error) is Disconnected
    assert exchange.over is None
    assert exchange.take_event() is not None


def test_the_end_is_quiet_when_it_was_to_be_expected(exchange):
    exchange.receive(CONNECTED % 0)
    exchange.broken(NotFound("gone"))
    assert exchange.take_event() is not None
    assert exchange.take_event() is None
    assert isinstance(exchange.over, NotFound)


def test_and_is_told_when_not(exchange):
    exchange.broken(StatusError("m", status=401))
    assert exchange.has_news()
    with pytest.raises(StatusError):
        exchange.take_event()
    assert exchange.broken(None) == 0.0


def test_closing_ends_what_is_in_flight(exchange):
    (push,) = expect(exchange, ["a"])
    exchange.close()
    assert isinstance(push.error, Unacknowledged)
    assert exchange.take_event() is None
    exchange.broken(None)
    assert "closed" in str(exchange.over)
