"""Our own clients against our own server."""

from __future__ import annotations

import msgspec
import pytest

from kvtape.client import AsyncLayerScale, LayerScale
from kvtape.client.errors import StatusError
from kvtape.errors import Conflict, ContextOverflow, EngineFailed, InvalidRequest, NotFound
from kvtape.protocols.layerscale import models
from tests.serving import CANDLES, ROWS, STATS, eventually

CHAT = [{"role": "user", "content": "the system"}]


@pytest.fixture
def client(url):
    with LayerScale(url, api_key="key") as client:
        yield client


def test_a_session_from_beginning_to_end(client):
    sessions = client.sessions
    session = sessions.create(prompt="be brief", context=1000, flash=["up?"], mark_prefix=True)
    assert session.prefix_end == session.n_tokens
    ack = sessions.push(session.id, CANDLES, wait=True)
    assert (ack.pushed, ack.dropped) == (5, 0)
    assert sessions.status(session.id).statistics.items_processed == 5
    assert sessions.stats(session.id).last_close == 152.0
    answer = sessions.generate(session.id, "down?", max_tokens=5, ignore_eos=True)
    assert (answer.n_tokens, answer.finish_reason) == (5, "length")
    *pieces, final = sessions.generate_stream(session.id, "down?", max_tokens=5, ignore_eos=True)
    assert all(isinstance(piece, models.GenerateToken) for piece in pieces)
    assert isinstance(final, models.Generated)
    assert "".join(piece.text for piece in pieces) == final.text == answer.text
    assert sessions.append(session.id, "note").total_tokens == sessions.get(session.id).data_end
    assert "note" in sessions.state(session.id).context_text
    assert sessions.mark_prefix(session.id).prefix_end > session.prefix_end
    assert session.id in [item.id for item in sessions.list().data]
    sessions.delete(session.id)
    with pytest.raises(NotFound):
        sessions.get(session.id)


@pytest.mark.parametrize("stream_type", ROWS)
def test_rows_of_each_type(client, stream_type):
    sessions = client.sessions
    session = sessions.create(type=stream_type)
    assert session.type == stream_type
    sessions.push(session.id, ROWS[stream_type], wait=True)
    stats = sessions.stats(session.id)
    assert type(stats).__name__ == f"{stream_type.capitalize()}Stats"
    assert msgspec.to_builtins(stats) == STATS[stream_type]
    with pytest.raises(InvalidRequest) as caught:
        sessions.push(session.id, [ROWS[stream_type][0], {}])
    assert caught.value.param.startswith("data[1].")
    sessions.delete(session.id)


def test_flash_queries_and_events(client):
    sessions = client.sessions
    session = sessions.create(prompt="be brief")
    added = sessions.flash(session.id, "up?", max_tokens=4)
    events = sessions.events(session.id)
    assert next(events) == models.Connected(session.id, 0, 1, streaming=True)
    sessions.push(session.id, CANDLES)
    assert isinstance(next(events), models.DataUpdated)
    ready = next(events)
    assert isinstance(ready, models.FlashReady)
    events.close()
    (entry,) = sessions.list_flash(session.id).data
    assert (entry.value, entry.fresh, entry.id) == (ready.value, True, added.id)
    assert sessions.generate(session.id, "up?", fast_answer=True).flash_id == added.id
    with pytest.raises(Conflict):
        sessions.flash(session.id, "up?")
    assert sessions.unflash(session.id, added.id).remaining == 0
    sessions.delete(session.id)


def test_chat(client):
    options = {"max_tokens": 6, "temperature": 0, "ignore_eos": True}
    completion = client.chat.create(CHAT, **options)
    chunks = list(client.chat.stream(CHAT, **options))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text == completion.choices[0].message.content
    assert chunks[-1].choices[0].finish_reason == "length"
    assert completion.usage.completion_tokens == 6


def test_server_information(client):
    assert client.health().status == "ok"
    assert client.models.list().data[0].max_model_len == 2048


def test_errors(client, url):
    with pytest.raises(ContextOverflow) as caught:
        client.chat.create([{"role": "user", "content": "x" * 4000}])
    assert caught.value.param == "messages"
    with pytest.raises(InvalidRequest) as caught:
        list(client.chat.stream(CHAT, n=0))
    assert caught.value.param == "n"
    with LayerScale(url, api_key="wrong") as other, pytest.raises(StatusError) as caught:
        other.models.list()
    assert caught.value.status == 401


def test_waiting_has_an_end(client):
    session = client.sessions.create()
    ack = client.sessions.push(session.id, CANDLES, wait=True)
    never = models.PushResult(**{name: getattr(ack, name) for name in ack.__struct_fields__})
    never.total_enqueued += 1
    with pytest.raises(EngineFailed, match="not resident"):
        client.sessions.wait(session.id, never, seconds=0.05)
    client.sessions.delete(session.id)


async def test_the_asynchronous_client_does_the_same(url):
    async with AsyncLayerScale(url, api_key="key") as client:
        sessions = client.sessions
        session = await sessions.create(prompt="be brief", flash=["up?"])
        events = sessions.events(session.id)
        assert isinstance(await anext(events), models.Connected)
        await sessions.push(session.id, CANDLES, wait=True)
        assert isinstance(await anext(events), models.DataUpdated)
        assert isinstance(await anext(events), models.FlashReady)
        await events.aclose()
        assert (await sessions.status(session.id)).data.data_count == 5
        assert (await sessions.stats(session.id)).count == 5
        answer = await sessions.generate(session.id, "down?", max_tokens=4, ignore_eos=True)
        pieces = [piece async for piece in sessions.generate_stream(session.id, "down?", max_tokens=4, ignore_eos=True)]
        assert pieces[-1].text == answer.text
        assert (await sessions.flash(session.id, "flat?")).total_flash_queries == 2
        assert (await sessions.list_flash(session.id)).count == 2
        assert (await sessions.unflash(session.id, 2)).remaining == 1
        assert (await sessions.append(session.id, "note")).n_tokens_added > 0
        assert (await sessions.mark_prefix(session.id)).prefix_end > 0
        assert (await sessions.state(session.id)).context_text
        assert session.id in [item.id for item in (await sessions.list()).data]
        await sessions.delete(session.id)
        assert (await client.health()).status == "ok"
        assert (await client.models.list()).data
        options = {"max_tokens": 4, "temperature": 0, "ignore_eos": True}
        completion = await client.chat.create(CHAT, **options)
        chunks = [chunk async for chunk in client.chat.stream(CHAT, **options)]
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        assert text == completion.choices[0].message.content


def test_leaving_a_stream_cancels_it(client, tiny_engine):
    stream = client.chat.stream(CHAT, max_tokens=1900, ignore_eos=True)
    next(stream)
    stream.close()
    eventually(lambda: tiny_engine.stats().running == 0)
