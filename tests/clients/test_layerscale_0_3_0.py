"""The published Python client `layerscale` 0.3.0, unmodified, against our server."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import layerscale
import pydantic
import pytest
from layerscale.types import common, stream_data
from layerscale.types import sessions as layerscale_sessions

from kvtape import Engine
from kvtape.server import create_app
from tests.serving import CANDLES, ROWS, STATS, eventually, running

VERSION = "0.3.0"


@pytest.fixture(scope="module", autouse=True)
def _version():
    assert importlib.metadata.version("layerscale") == VERSION


@pytest.fixture
def client(tiny_url):
    with layerscale.LayerScale(tiny_url, api_key="LS-test", max_retries=0) as client:
        yield client


@pytest.fixture
def session(client):
    created = client.sessions.create(
        type="ohlcv", prompt="be brief", context=1500, flash=[{"query": "up?", "max_tokens": 4}], mark_prefix=True
    )
    yield created.session_id
    client.sessions.delete(created.session_id)


def complete_example() -> str:
    """The program under `Complete example` in the README that the package carries."""
    readme = importlib.metadata.metadata("layerscale").get_payload()
    section = readme.split("### Complete example")[1]
    return re.search(r"```python\n(.*?)```", section, re.DOTALL)[1]


def run_example(url: str, folder: Path) -> str:
    program = complete_example().replace("http://localhost:8080", url)  # the port is the one thing of ours in it
    run = subprocess.run(
        [sys.executable, "-c", program],
        env={"LAYERSCALE_LICENSE_KEY": "LS-test", "PATH": ""},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_the_complete_example_of_its_readme_runs(make_tiny_model, tmp_path):
    engine = Engine(make_tiny_model(n_ctx=4096), kv_memory="64M", n_threads=1)
    with engine, running(create_app(engine, api_keys=["LS-test"])) as url:
        assert run_example(url, tmp_path).startswith("Answer:")
        eventually(lambda: engine.stats().n_sequences == 0)  # the example deletes its session


@pytest.mark.model
def test_the_complete_example_has_an_answer_from_a_real_model(model_path, tmp_path):
    engine = Engine(model_path, n_ctx=4096, kv_memory="512M")
    with engine, running(create_app(engine)) as url:
        answer = run_example(url, tmp_path).removeprefix("Answer:").strip()
    assert re.search("up|down", answer, re.IGNORECASE)


def test_health_and_models(client):
    assert client.health.check().ok
    assert len(client.models.list().data) == 1


def test_pushing_and_asking(client, session):
    ack = client.sessions.push(session, CANDLES, wait=True)
    assert (ack.pushed, ack.dropped, ack.total_enqueued) == (5, 0, 5)
    answer = client.sessions.query(session, prompt="down?", max_tokens=5)
    assert answer.data_version == 1
    assert answer.total_tokens == answer.pos_max + 1
    status = client.sessions.stream_status(session)
    assert status.statistics.items_processed == 5
    assert client.sessions.stats(session).last_close == 152.0
    state = client.sessions.get(session)
    assert state.data_count == 5
    assert state.pos_max == state.n_tokens - 1


def entry_types():
    return {
        "ohlcv": (stream_data.OHLCVEntry, layerscale_sessions.OHLCVStats),
        "iot": (stream_data.IoTEntry, layerscale_sessions.IoTStats),
        "spatial": (stream_data.SpatialEntry, layerscale_sessions.SpatialStats),
        "event": (stream_data.EventEntry, layerscale_sessions.EventStats),
        "vitals": (stream_data.VitalsEntry, layerscale_sessions.VitalsStats),
    }


def test_it_has_the_types_we_test():
    assert set(get_args(common.StreamType)) == set(entry_types()) == set(ROWS)


@pytest.mark.parametrize("stream_type", ROWS)
def test_rows_of_each_type(client, stream_type):
    entry, stats_type = entry_types()[stream_type]
    rows = [
        pydantic.TypeAdapter(entry).validate_python(row) for row in ROWS[stream_type]
    ]  # as its types would have them
    session = client.sessions.create(type=stream_type, prompt="be brief", flash=[{"query": "well?", "max_tokens": 3}])
    assert session.type == stream_type
    before = client.sessions.stats(session.session_id)
    assert (type(before), before.count) == (stats_type, 0)
    with client.sessions.events(session.session_id) as stream:
        events = iter(stream)
        assert next(events).type == "connected"
        ack = client.sessions.push(session.session_id, rows, wait=True)
        assert [next(events).type, next(events).type] == ["data_updated", "flash_ready"]
    assert (ack.pushed, ack.dropped) == (len(rows), 0)
    stats = client.sessions.stats(session.session_id)
    assert type(stats) is stats_type
    assert stats.model_dump() == STATS[stream_type]
    assert client.sessions.stream_status(session.session_id).type == stream_type
    state = client.sessions.get(session.session_id)
    assert (state.type, state.data_count) == (stream_type, len(rows))
    assert client.sessions.query(session.session_id, prompt="trend?", max_tokens=3).data_version == 1
    field = next(iter(ROWS[stream_type][0]))
    with pytest.raises(layerscale.APIStatusError) as caught:
        client.sessions.push(session.session_id, [{}])
    assert (caught.value.status_code, caught.value.param) == (400, f"data[0].{field}")
    client.sessions.delete(session.session_id)


def test_streaming_a_query(client, session):
    client.sessions.push(session, CANDLES, wait=True)
    with client.sessions.query_stream(session, prompt="down?", max_tokens=6) as stream:
        *pieces, final = list(stream)
    assert final.done is True
    assert "".join(piece.token for piece in pieces) == final.text
    with client.sessions.query_stream(session, max_tokens=4) as stream:
        assert list(stream)[-1].n_tokens <= 4


def test_flash_queries_and_events(client, session):
    with client.sessions.events(session) as stream:
        events = iter(stream)
        first = next(events)
        assert (first.type, first.data_version, first.flash_queries) == ("connected", 0, 1)
        client.sessions.push(session, CANDLES)
        updated, ready = next(events), next(events)
    assert (updated.type, updated.data_version, updated.data_count) == ("data_updated", 1, 5)
    assert (ready.type, ready.data_version, ready.query) == ("flash_ready", 1, "up?")
    added = client.sessions.flash(session, "flat?", max_tokens=64)
    assert (added.id, added.max_tokens, added.total_flash_queries) == (2, 64, 2)
    listed = client.sessions.list_flash(session)
    assert listed.count == 2
    assert listed.flash_queries[0].value == ready.value
    hit = client.sessions.query(session, prompt="up?", fast_answer=True, max_tokens=8)
    assert (hit.flash, hit.flash_id, hit.text, hit.confidence) == (True, 1, ready.value, ready.confidence)
    assert client.sessions.unflash(session, 2).remaining == 1


def test_the_socket_takes_rows_and_tells_what_came_of_them(client, session):
    with client.sessions.stream(session) as socket:
        events = iter(socket)
        connected = next(events)
        assert (connected.type, connected.data.session_id, connected.data.flash_queries) == ("connected", session, 1)
        socket.push(CANDLES)
        socket.ping()
        seen = [next(events) for _ in range(4)]
    kinds = [event.type for event in seen]
    assert sorted(kinds) == ["data_updated", "flash_ready", "pong", "push_ack"]
    assert kinds.index("push_ack") < kinds.index("data_updated") < kinds.index("flash_ready")
    ready = seen[kinds.index("flash_ready")].data
    assert (ready.query, ready.data_version) == ("up?", 1)


def test_append_list_and_mark_prefix(client, session):
    added = client.sessions.append(session, "note\n")
    assert added.total_tokens == added.pos_max + 1
    eventually(lambda: client.sessions.query(session, prompt="x", max_tokens=1).data_version == 1)
    assert client.sessions.mark_prefix(session).prefix_end == added.total_tokens
    assert session in [item.session_id for item in client.sessions.list().sessions]


def test_chat_plain_and_streamed(client):
    messages = [{"role": "user", "content": "the system"}]
    plain = client.chat.create(messages=messages, max_tokens=8, temperature=0)
    with client.chat.stream(messages=messages, max_tokens=8, temperature=0) as stream:
        chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text == plain.choices[0].message.content
    assert chunks[-1].choices[0].finish_reason == plain.choices[0].finish_reason


def test_messages_plain_and_streamed(client):
    request = {"messages": [{"role": "user", "content": "the system"}], "max_tokens": 8, "temperature": 0}
    plain = client.messages.create(**request)
    with client.messages.stream(**request) as stream:
        events = list(stream)  # an event that it does not know, such as a ping, would raise
    text = "".join(event.delta.text for event in events if event.type == "content_block_delta")
    assert text == "".join(block.text for block in plain.content)
    assert events[-2].delta.stop_reason == plain.stop_reason


def test_an_unknown_type_is_named(client):
    with pytest.raises(layerscale.APIStatusError) as caught:
        client.sessions.create(type="weather")
    assert (caught.value.status_code, caught.value.param) == (400, "type")


def test_errors_are_its_typed_ones(client, session):
    with pytest.raises(layerscale.APIStatusError) as caught:
        client.sessions.query("sess_nobody", max_tokens=4)
    assert (caught.value.status_code, caught.value.type) == (404, "not_found_error")
    assert caught.value.request_id.startswith("req_")
    with pytest.raises(layerscale.APIStatusError) as caught:
        client.sessions.push(session, [{"o": 1}])
    assert (caught.value.status_code, caught.value.param) == (400, "data[0].h")
    wrong = layerscale.LayerScale(str(client._client.base_url), api_key="LS-wrong", max_retries=0)
    with wrong, pytest.raises(layerscale.APIStatusError) as caught:
        wrong.models.list()
    assert (caught.value.status_code, caught.value.type) == (401, "authentication_error")


async def test_the_asynchronous_client(tiny_url):
    async with layerscale.AsyncLayerScale(tiny_url, api_key="LS-test") as client:
        session = await client.sessions.create(type="ohlcv", prompt="be brief", mark_prefix=True)
        await client.sessions.push(session.session_id, CANDLES, wait=True)
        answer = await client.sessions.query(session.session_id, prompt="Trend?", max_tokens=4)
        assert answer.data_version == 1
        async with client.sessions.stream(session.session_id) as socket:
            async for event in socket:
                assert (event.type, event.data.data_version) == ("connected", 1)
                break
        await client.sessions.delete(session.session_id)
