"""Pushes, status and statistics over HTTP, against the wire specification."""

from __future__ import annotations

import json

import pytest

from tests.serving import CANDLES, ROWS, STATS, eventually, push


def test_a_push_is_acknowledged_at_once_and_then_resident(http, session):
    ack = push(http, session)
    assert ack == {
        "pushed": 5, "dropped": 0, "queue_size": 5, "queue_capacity": 16384, "total_enqueued": 5, "total_dropped": 0,
        "pending": 5, "pending_bytes": ack["pending_bytes"], "total_pushed": 5, "data_version": 0,
    }  # fmt: skip
    status = http.get(f"{session}/stream/status").json()
    assert status["type"] == "ohlcv"
    assert status["streaming"] == {
        "initialized": True, "running": True, "error": False, "queue_size": 0, "queue_capacity": 16384,
        "window_size": 0, "process_interval_us": 0,
    }  # fmt: skip
    statistics = status["statistics"]
    assert (statistics["total_enqueued"], statistics["items_processed"], statistics["batches_processed"]) == (5, 5, 1)
    assert statistics["avg_process_time_us"] == statistics["total_process_time_us"] > 0
    state = http.get(session).json()
    assert status["data"]["data_count"] == state["data_count"] == 5
    assert status["data"]["tokens_per_row"] == state["tokens_per_row"] == status["data"]["total_data_tokens"] / 5
    # what the newer clients wait for
    assert state["pending"] == 0
    assert state["data_version"] > ack["data_version"]
    assert state["kv_tokens"] + 1 >= state["data_end"]


def test_a_bad_row_is_named_and_nothing_is_queued(http, session):
    rows = [*CANDLES[:3], {"o": 1, "h": "high", "l": 1, "c": 1, "v": 1}]
    response = http.post(f"{session}/stream/push", json={"data": rows})
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "data[3].h"
    assert http.get(f"{session}/stream/status").json()["statistics"]["total_enqueued"] == 0


def test_statistics(http, session):
    empty = http.get(f"{session}/stats").json()
    assert (empty["type"], empty["count"], empty["avg_close"]) == ("ohlcv", 0, 0)
    push(http, session)
    stats = http.get(f"{session}/stats").json()
    closes = [candle["c"] for candle in CANDLES]
    assert stats["count"] == 5
    assert (stats["max_high"], stats["max_high_index"]) == (152.1, 4)
    assert (stats["min_low"], stats["min_low_index"]) == (150.1, 0)
    assert (stats["max_volume"], stats["first_open"], stats["last_close"]) == (1_500_000, 150.2, 152.0)
    assert stats["avg_close"] == pytest.approx(sum(closes) / 5)
    assert stats["change_pct"] == pytest.approx(100 * (152.0 - 150.2) / 150.2)


def test_a_context_that_is_full_says_so_and_keeps_counting(http):
    body = {"type": "ohlcv", "prompt": "be brief", "context": 200}
    session = f"/v1/sessions/{http.post('/v1/sessions/init', json=body).json()['id']}"
    push(http, session, CANDLES * 20)
    status = http.get(f"{session}/stream/status").json()
    assert status["streaming"]["error"] is True
    assert status["statistics"]["items_processed"] == 100
    assert status["statistics"]["total_dropped"] == 100 - status["data"]["data_count"] > 0
    ack = push(http, session)
    assert (ack["pushed"], ack["dropped"]) == (0, 5)
    http.delete(session)


@pytest.fixture
def open_session(http):
    opened = []

    def make(stream_type):
        created = http.post("/v1/sessions/init", json={"type": stream_type}).json()
        assert created["type"] == stream_type
        opened.append(f"/v1/sessions/{created['id']}")
        return opened[-1]

    yield make
    for session in opened:
        http.delete(session)


TEXTS = {
    "iot": """\
Sensor readings, one a line: sensor, value, low limit, high limit; @ gives the time where it jumps.
@2024-11-30T20:53:20 boiler 71.25 60 85
@2024-11-30T20:53:20 "pump 3" 3.5 2 4
@2024-11-30T20:54:20 boiler 91.5 60 85
""",
    "spatial": """\
Positions, one a line: x, y, z, speed, heading in degrees; @ gives the time where it jumps.
@2024-11-30T20:53:20 0 0 0 5 350
@2024-11-30T20:53:22 3 4 0 7.5 10
@2024-11-30T20:53:23 3 4 12 2.5 10
""",
    "event": """\
Events, one a line: source, severity, category, count; @ gives the time where it jumps.
@2024-11-30T20:53:20 db-1 4 "disk full" 2
@2024-11-30T20:53:21 web 1 login 17
@- db-1 5 "disk full" 16
""",
    "vitals": """\
Vital signs, one a line: heart rate, blood pressure, SpO2, temperature; @ gives the time where it jumps.
@2024-11-30T20:53:20 72 120/80 98.5 36.8
@2024-11-30T20:54:20 104 132/90 89 38
110 120/75 91 38.5
""",
}


@pytest.mark.parametrize("stream_type", TEXTS)
def test_rows_of_each_type_become_text_and_statistics(http, open_session, stream_type):
    session = open_session(stream_type)
    ack = push(http, session, ROWS[stream_type])
    assert (ack["pushed"], ack["dropped"]) == (3, 0)
    assert http.get(f"{session}/stream/status").json()["type"] == stream_type
    state = http.get(f"{session}/state").json()
    assert (state["type"], state["data_count"]) == (stream_type, 3)
    assert state["context_text"].endswith(TEXTS[stream_type])
    found = http.get(f"{session}/stats").json()
    assert list(found) == list(STATS[stream_type])
    assert found == STATS[stream_type]


@pytest.mark.parametrize("stream_type", STATS)
def test_statistics_have_every_field_before_the_first_row(http, open_session, stream_type):
    found = http.get(f"{open_session(stream_type)}/stats").json()
    assert list(found) == list(STATS[stream_type])
    assert found["count"] == 0
    assert "null" not in json.dumps(found)


@pytest.mark.parametrize("route", ["stream/push", "push"])
@pytest.mark.parametrize("stream_type", STATS)
def test_rows_of_another_type_are_refused_whole(http, open_session, stream_type, route):
    session = open_session(stream_type)
    other = ROWS["vitals" if stream_type != "vitals" else "ohlcv"][0]
    response = http.post(f"{session}/{route}", json={"data": [*ROWS[stream_type], other]})
    assert response.status_code == 400
    error = response.json()["error"]
    field = next(iter(ROWS[stream_type][0]))
    assert (error["type"], error["param"]) == ("invalid_request_error", f"data[{len(ROWS[stream_type])}].{field}")
    assert f"a row of type {stream_type} has " in error["message"]
    assert http.get(f"{session}/stream/status").json()["statistics"]["total_enqueued"] == 0
    assert http.post(f"{session}/{route}", json={"data": ROWS[stream_type]}).json()["pushed"] == len(ROWS[stream_type])


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b'{"data": [{"src": "a", "sev": 1.5, "cat": "c", "cnt": 1}]}', "data[0].sev"),
        (b'{"data": [{"src": "a", "sev": 1, "cat": null, "cnt": 1}]}', "data[0].cat"),
        (b'{"data": [{"src": "a", "sev": 1, "cat": "c", "cnt": 1e400}]}', None),  # no number of JSON
        (b'{"data": [{"src": "a", "sev": 1, "cat": "c", "cnt": NaN}]}', None),
        (b'{"data": {"src": "a", "sev": 1, "cat": "c", "cnt": 1}}', "data"),
        (b'{"data": [{"src": "%s", "sev": 1, "cat": "c", "cnt": 1}]}' % (b"s" * 65), "data[0].src"),
        (b'{"data": [{"src": "a", "sev": 1, "cat": "c", "cnt": 1, "ts": "now"}]}', "data[0].ts"),
    ],
)
def test_wrong_events_are_named(http, open_session, body, param):
    session = open_session("event")
    response = http.post(f"{session}/stream/push", content=body, headers={"content-type": "application/json"})
    assert (response.status_code, response.json()["error"].get("param")) == (400, param)
    assert http.get(f"{session}/stream/status").json()["statistics"]["total_enqueued"] == 0


# -- text --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("route", ["push", "stream/push"])
def test_text_is_acknowledged_for_both_generations(http, text_session, route):
    ack = http.post(f"{text_session}/{route}", json={"data": ["a line", "another\n", ""]}).json()
    assert ack == {
        "pushed": 3, "dropped": 0, "queue_size": 3, "queue_capacity": 16384, "total_enqueued": 3, "total_dropped": 0,
        "pending": 3, "pending_bytes": ack["pending_bytes"], "total_pushed": 3, "data_version": 0,
    }  # fmt: skip
    assert ack["pending_bytes"] >= len("a lineanother\n")
    eventually(lambda: http.get(text_session).json()["data_version"] > 0)
    status = http.get(f"{text_session}/stream/status").json()
    assert status["type"] == "text"
    assert status["statistics"]["items_processed"] == status["statistics"]["total_enqueued"] == 3


def test_text_becomes_lines(http, text_session, push_text):
    push_text(text_session, "a line")
    push_text(text_session, ["a second", "a third\n", "two\nmore"])
    push_text(text_session, "the last \u00e9\U0001f600\u2028")
    assert http.get(f"{text_session}/state").json()["context_text"] == (
        "a line\na second\na third\ntwo\nmore\nthe last \u00e9\U0001f600\u2028\n"
    )
    assert http.get(text_session).json()["data_count"] == 0


@pytest.mark.parametrize("data", ["", [""], ["", ""]])
def test_a_push_of_nothing_is_followed_by_a_version(http, text_session, push_text, data):
    before = http.get(text_session).json()["data_version"]
    assert push_text(text_session, data)["pushed"] == (len(data) or 1)
    assert http.get(text_session).json()["data_version"] > before


def test_text_and_rows_in_one_push_keep_their_order(http, session, push_text):
    assert push_text(session, ["before", *CANDLES[:1], "after"])["pushed"] == 3
    state = http.get(f"{session}/state").json()
    begin, row, end = (state["context_text"].index(part) for part in ("before\n", "AAPL", "after\n"))
    assert begin < row < end
    assert state["data_count"] == 1
    assert http.get(f"{session}/stats").json()["count"] == 1
    assert push_text(session, "alone")["pushed"] == 1


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b'{"data": []}', "data"),
        (b'{"data": null}', "data"),
        (b'{"data": 7}', "data"),
        (b"{}", "data"),
        (b'{"data": ["a", 7]}', "data[1]"),
        (b'{"data": ["a", ["b"]]}', "data[1]"),
        (b'{"data": [{"o": 1, "h": 1, "l": 1, "c": 1, "v": 1}]}', "data[0]"),
        (b'{"data": ["\\ud800"]}', None),
        (b"[]", None),
    ],
)
def test_pushes_of_no_text_are_named(http, text_session, body, param):
    response = http.post(f"{text_session}/push", content=body)
    assert response.status_code == 400
    error = response.json()["error"]
    assert (error["type"], error.get("param")) == ("invalid_request_error", param)
    assert http.get(text_session).json()["pending"] == 0


def test_an_empty_list_is_for_the_older_clients(http, session):
    assert http.post(f"{session}/stream/push", json={"data": []}).json()["pushed"] == 0
    response = http.post(f"{session}/push", json={"data": []})
    assert (response.status_code, response.json()["error"]["param"]) == (400, "data")


def test_there_are_no_statistics_over_text(http, text_session):
    response = http.get(f"{text_session}/stats")
    assert response.status_code == 400
    assert "no typed data" in response.json()["error"]["message"]


@pytest.mark.parametrize(("overflow", "pushed"), [(None, 20_000), ("drop_newest", 16_384)])
def test_what_does_not_fit_into_the_queue_is_counted(http, overflow, pushed):
    created = http.post("/v1/sessions", json={"overflow": overflow}).json()
    session = f"/v1/sessions/{created['id']}"
    ack = http.post(f"{session}/push", json={"data": ["x"] * 20_000}).json()
    assert (ack["pushed"], ack["dropped"], ack["total_dropped"]) == (pushed, 20_000 - 16_384, 20_000 - 16_384)
    assert ack["total_pushed"] == ack["total_enqueued"] == pushed
    assert ack["pending"] == ack["queue_capacity"] == 16_384
    eventually(lambda: http.get(session).json()["pending"] == 0)
    assert http.get(session).json()["data_version"] > ack["data_version"]
    statistics = http.get(f"{session}/stream/status").json()["statistics"]
    assert statistics["items_processed"] == pushed
    assert statistics["total_dropped"] > 20_000 - 16_384  # nor does the context hold the rest
    http.delete(session)
