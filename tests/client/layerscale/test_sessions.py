"""Sessions of both generations on a real server, as far as the other tests have not been there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from kvtape.client import AsyncLayerScale, LayerScale
from kvtape.errors import Conflict, InvalidRequest, NotFound
from kvtape.protocols.anthropic import reply_models
from kvtape.protocols.layerscale import models
from tests.serving import CANDLES

CHOICES = ["yes", "no"]


@pytest.fixture
def client(url):
    with LayerScale(url, api_key="key") as client:
        yield client


def test_a_session_of_text(client):
    sessions = client.sessions
    made = sessions.create_text(id="desk_1", pre_decode=True)
    assert (made.id, made.type, made.pre_decode) == ("desk_1", "text", True)
    with pytest.raises(Conflict):
        sessions.create_text(id="desk_1")
    assert sessions.push("desk_1", "news of the day", wait=True).pushed == 1
    assert sessions.push("desk_1", ["rain", "snow"], wait=True).pushed == 2
    assert all(word in sessions.state("desk_1").context_text for word in ("news of the day", "rain", "snow"))
    assert sessions.get("desk_1").data_version == 2
    *pieces, last = sessions.generate_stream("desk_1", "what?", max_tokens=4, ignore_eos=True)
    assert "".join(piece.text for piece in pieces) == last.text
    with pytest.raises(InvalidRequest):
        sessions.stats("desk_1")
    with sessions.ws("desk_1") as ws:
        assert isinstance(next(ws), models.Connected)
        assert ws.push("hail").pushed == 1
        assert next(ws).data_version == 3
    assert sessions.slots("desk_1").total_tokens == sessions.get("desk_1").tokens
    assert sessions.delete("desk_1").deleted


def test_a_window_and_a_policy_of_overflow(client):
    sessions = client.sessions
    made = sessions.create(window=400, overflow="drop_oldest", prompt="the", context=1500, mark_prefix=True)
    assert (made.window, made.context) == (400, 1500)
    for _ in range(12):
        sessions.push(made.id, CANDLES, wait=True)
    after = sessions.get(made.id)
    assert after.evicted > 0
    assert after.data_count < 60
    sessions.delete(made.id)


def test_rows_and_texts_in_one_push(client):
    made = client.sessions.create()
    assert client.sessions.push(made.id, [CANDLES[0], "trading was halted", CANDLES[1]], wait=True).pushed == 3
    assert "trading was halted" in client.sessions.state(made.id).context_text
    client.sessions.delete(made.id)


def test_a_flash_query_with_choices(client):
    made = client.sessions.create_text(flash=[{"query": "warm?", "choices": CHOICES}])
    added = client.sessions.flash(made.id, "dry?", max_tokens=2, choices=CHOICES)
    assert added.choices == CHOICES
    with client.sessions.events(made.id) as events:
        client.sessions.push(made.id, "rain")
        ready = {}
        while len(ready) < 2:
            event = next(events)
            if isinstance(event, models.FlashReady) and event.data_version == 1:
                ready[event.query] = event
    assert sorted(ready) == ["dry?", "warm?"]
    for event in ready.values():
        assert event.value in CHOICES
        assert set(event.probabilities) == set(CHOICES)
    assert client.sessions.generate(made.id, "dry?").flash_id == added.id
    client.sessions.delete(made.id)


def test_answers_that_say_nothing_new_may_be_left_out(client):
    made = client.sessions.create_text(flash=[{"query": "warm?", "choices": CHOICES}])
    for reader in (client.sessions.events, client.sessions.ws):
        version, value = client.sessions.get(made.id).data_version, None
        with reader(made.id, changes_only=True) as events:
            assert isinstance(next(events), models.Connected)
            for _ in range(5):
                client.sessions.push(made.id, "rain")
                version += 1
                while not isinstance(event := next(events), models.DataUpdated):
                    assert event.value != value
                    value = event.value
                assert event.data_version == version
    client.sessions.delete(made.id)


def test_a_fast_answer_by_candidates(client):
    made = client.sessions.create_text()
    answer = client.sessions.generate(made.id, "rain?", fast_answer=CHOICES, gap_threshold=0.5, max_tokens=3)
    assert answer.data_version == 0
    client.sessions.delete(made.id)


def test_a_conversation_in_a_session(client):
    made = client.sessions.create_text()
    sessions, bound = client.sessions, {"session_id": made.id, "max_tokens": 4}
    messages = [{"role": "user", "content": "the system"}]
    warmed = sessions.warm(made.id, messages)
    assert (warmed.finish_reason, warmed.session_id) == ("warmed", made.id)
    reply = client.chat.create(messages, temperature=0.0, ignore_eos=True, **bound)
    assert reply.usage.prompt_tokens_details.cached_tokens >= warmed.prompt_tokens - 1
    messages += [
        {"role": "assistant", "content": reply.choices[0].message.content},
        {"role": "user", "content": "and the model"},
    ]
    chunks = list(client.chat.stream(messages, **bound))
    assert chunks[-1].choices[0].finish_reason is not None
    assert sessions.get(made.id).turns == 2
    sessions.delete(made.id)
    with pytest.raises(NotFound):
        client.messages.create(messages, **bound)
    made = sessions.create()
    assert sessions.generate(made.id, messages=messages[:1], max_tokens=4, ignore_eos=True).n_tokens == 4
    assert sessions.get(made.id).turns == 1
    reply = client.messages.create(messages[:1], max_tokens=4, session_id=made.id)
    assert sessions.get(made.id).turns == 2
    sessions.delete(made.id)


def test_raw_completions(client):
    options = {"max_tokens": 4, "temperature": 0.0, "ignore_eos": True}
    whole = client.completions.create("the", **options)
    pieces = list(client.completions.stream("the", **options))
    assert "".join(piece.choices[0].text for piece in pieces) == whole.choices[0].text
    assert whole.usage.completion_tokens == 4


def test_messages(client):
    messages = [{"role": "user", "content": "the system"}]
    n_tokens = client.messages.count_tokens(messages).input_tokens
    reply = client.messages.create(messages, max_tokens=4, temperature=0.0, ignore_eos=True)
    assert reply.usage.input_tokens + reply.usage.cache_read_input_tokens == n_tokens
    events = list(client.messages.stream(messages, max_tokens=4, temperature=0.0, ignore_eos=True))
    deltas = [event.delta for event in events if isinstance(event, reply_models.BlockDelta)]
    assert "".join(delta.text for delta in deltas) == reply.content[0].text


async def test_messages_and_completions_in_a_loop(url):
    messages = [{"role": "user", "content": "the system"}]
    async with AsyncLayerScale(url, api_key="key") as client:
        assert (await client.messages.count_tokens(messages)).input_tokens > 0
        assert (await client.messages.create(messages, max_tokens=2)).usage.output_tokens <= 2
        assert [event async for event in client.messages.stream(messages, max_tokens=2)]
        assert (await client.completions.create("the", max_tokens=2)).choices
        assert [piece async for piece in client.completions.stream("the", max_tokens=2)]
        made = await client.sessions.create_text()
        assert (await client.sessions.push(made.id, ["a", "b"], wait=True)).pushed == 2
        assert (await client.sessions.slots(made.id)).slots
        await client.sessions.delete(made.id)


def test_the_model_and_the_metrics(client):
    name = client.models.list().data[0].id
    assert client.models.retrieve(name.upper()).id == name
    assert "kvtape_" in client.metrics()
    with pytest.raises(LookupError):
        client.models.retrieve("another")


PROGRAM = """
import asyncio, sys
from kvtape.client import AsyncLayerScale, LayerScale
url, session_id, kind = sys.argv[1:]

async def follow(events):
    async with AsyncLayerScale(url, api_key="key") as client:
        async with getattr(client.sessions, events)(session_id) as stream:
            async for event in stream:
                print("ready", flush=True)

try:
    if kind.startswith("async-"):
        asyncio.run(follow(kind.removeprefix("async-")))
    else:
        with LayerScale(url, api_key="key") as client:
            with getattr(client.sessions, kind)(session_id) as stream:
                for event in stream:
                    print("ready", flush=True)
except KeyboardInterrupt:
    print("left")
"""


@pytest.mark.parametrize("kind", ["events", "ws", "async-events", "async-ws"])
def test_ctrl_c_leaves_nothing_open(client, url, kind):
    made = client.sessions.create()
    program = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", PROGRAM, url, made.id, kind],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    watchdog = threading.Timer(60, program.kill)
    watchdog.start()
    assert program.stdout.readline() == "ready\n"
    os.kill(program.pid, signal.SIGINT)
    output, errors = program.communicate()
    watchdog.cancel()
    assert (output, errors, program.returncode) == ("left\n", "", 0)
    client.sessions.delete(made.id)
