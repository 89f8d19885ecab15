"""The published Python client `openai`, unmodified, against our server: as a program that changed only the base URL."""

from __future__ import annotations

import contextlib
import random

import httpx
import openai
import pytest

from kvtape.errors import Overloaded
from kvtape.server import responses
from tests.clients.npm import run_node_tests
from tests.clients.openai_replies import Joined, assert_stream_is_plain, counts, extra, plain_choices
from tests.clients.openai_requests import random_chat, random_completion
from tests.serving import eventually

CHAT = [{"role": "user", "content": "the system"}]
TOO_LONG = [{"role": "user", "content": "x" * 4000}]


def random_request(client, model, rng):
    """Return a method of the client and the fields to call it with."""
    sample = client.completions.create(model=model, prompt="the", max_tokens=24, seed=rng.randrange(99), **extra())
    text = sample.choices[0].text
    if rng.random() < 0.6:
        return client.chat.completions.create, random_chat(rng, model, text)
    return client.completions.create, random_completion(rng, model, text)


@pytest.mark.parametrize("reasons", [False, True])
@pytest.mark.parametrize("n_requests", [25, pytest.param(500, marks=pytest.mark.slow)])
def test_streaming_equals_plain_over_random_requests(client, thinking_url, model, reasons, n_requests):
    rng = random.Random(f"{reasons}, {n_requests}")
    client = client.with_options(base_url=f"{thinking_url}/v1") if reasons else client
    for _ in range(n_requests):
        assert_stream_is_plain(*random_request(client, model, rng))


@pytest.mark.parametrize("n_characters", [1, 2, 3])
def test_stop_strings_end_the_text_wherever_they_stand(client, model, n_characters):
    fields = {
        "model": model,
        "prompt": "日本 😀",
        "max_tokens": 24,
        "temperature": 1.2,
        "seed": 2,
        "logprobs": 1,
        **extra(),
    }
    text = client.completions.create(**fields).choices[0].text
    for begin in range(len(text) - n_characters + 1):
        stop = text[begin : begin + n_characters]
        if "\ufffd" in stop:  # bytes that are no character; the string would not match them
            continue
        choice = client.completions.create(**fields, stop=[stop, "never seen"]).choices[0]
        assert (choice.text, choice.finish_reason) == (text[: text.index(stop)], "stop")
        assert_stream_is_plain(client.completions.create, {**fields, "stop": stop})


def test_models(client):
    (listed,) = client.models.list().data
    assert client.models.retrieve(listed.id) == listed
    assert listed.object == "model"
    assert isinstance(listed.created, int)
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-4")


def test_a_chat_and_its_next_turn(client, model):
    reply = client.chat.completions.create(
        model=model, messages=CHAT, max_completion_tokens=6, user="me", metadata={"a": "b"}, store=False,
        service_tier="auto", **extra(),
    )  # fmt: skip
    assert reply.object == "chat.completion"
    assert reply.id.startswith("chatcmpl-")
    assert (reply.model, reply.service_tier) == (model, "default")
    assert reply.choices[0].finish_reason == "length"
    assert reply.usage.completion_tokens == 6
    messages = [*CHAT, reply.choices[0].message, {"role": "user", "content": "and?"}]
    again = client.chat.completions.create(model=model, messages=messages, max_tokens=1)
    assert again.usage.prompt_tokens > reply.usage.prompt_tokens


def test_the_stream_helper_of_chat(client, model):
    fields = {"model": model, "messages": CHAT, "max_tokens": 24, "seed": 1, "logprobs": True, "n": 2, **extra()}
    plain = client.chat.completions.create(**fields)
    with client.chat.completions.stream(**fields) as stream, pytest.raises(openai.LengthFinishReasonError):
        stream.get_final_completion()
    texts = [choice.message.content for choice in plain.choices]
    fields["stop"] = [next(c for c in text[1:] if c not in f"{text[0]}\ufffd") for text in texts]
    plain = client.chat.completions.create(**fields)
    with client.chat.completions.stream(**fields, stream_options={"include_usage": True}) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_completion()
    assert {"chunk", "content.delta", "content.done", "logprobs.content.delta", "logprobs.content.done"} <= kinds
    assert plain_choices(final) == plain_choices(plain)
    assert counts(final.usage) == counts(plain.usage)


def test_best_of(client, model):
    fields = {"model": model, "prompt": "the", "temperature": 1.5, "seed": 1, "logprobs": 0, **extra()}
    reply = client.completions.create(**fields, n=2, best_of=5)
    means = [sum(choice.logprobs.token_logprobs) for choice in reply.choices]
    assert means == sorted(means, reverse=True)
    assert reply.usage.completion_tokens == 5 * 16


@pytest.mark.parametrize(
    ("fields", "error", "code", "param"),
    [
        ({"temperature": 3}, openai.BadRequestError, None, "temperature"),
        ({"messages": TOO_LONG}, openai.BadRequestError, "context_length_exceeded", "messages"),
        (
            {"tools": [{"type": "function", "function": {"name": "?"}}]},
            openai.BadRequestError, None, "tools[0].function.name",
        ),
        ({"n": 1000}, openai.BadRequestError, None, "n"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("stream", [False, True])
def test_errors_are_its_own_classes(client, model, stream, fields, error, code, param):
    with pytest.raises(error) as caught:
        client.chat.completions.create(**{"model": model, "messages": CHAT, "stream": stream, **fields})
    assert (caught.value.code, caught.value.param) == (code, param)
    assert caught.value.request_id.startswith("req_")


def test_a_wrong_key(client, model):
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="wrong").completions.create(model=model, prompt="a")


def test_leaving_a_stream_stops_the_engine(client, model, tiny_engine):
    for create, fields in (
        (client.chat.completions.create, {"messages": CHAT}),
        (client.completions.create, {"prompt": ["the", "a"], "max_tokens": 1500}),
    ):
        with create(model=model, n=3, stream=True, **fields, **extra()) as stream:
            next(iter(stream))
            assert tiny_engine.stats().running > 0
        eventually(lambda: tiny_engine.stats().running == 0)


def test_a_timeout_stops_the_engine_and_is_tried_again(client, model, tiny_engine, tiny_url):
    def n_requests():
        return httpx.get(f"{tiny_url}/health").json()["requests_started"]

    fields = {"model": model, "prompt": "the", "max_tokens": 1500, "n": 64, **extra()}
    before, n_before = tiny_engine.stats().generated_tokens, n_requests()
    with pytest.raises(openai.APITimeoutError):
        client.with_options(timeout=0.3, max_retries=1).completions.create(**fields)
    eventually(lambda: tiny_engine.stats().running == 0)
    assert 0 < tiny_engine.stats().generated_tokens - before < 2 * 64 * 1500
    assert n_requests() == n_before + 2


def test_a_server_that_is_full_is_tried_again(client, model, tiny_engine):
    """What fails before the first token of a stream has a status, which the client knows how to handle."""
    sequences = []
    with contextlib.suppress(Overloaded):
        while True:
            sequences.append(tiny_engine.open())
    sequences.pop().close()
    fields = {"model": model, "messages": CHAT, "max_tokens": 2, "stream": True, **extra()}
    with pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.create(**fields, n=3)
    assert caught.value.status_code == 503

    def make_room(response: httpx.Response) -> None:
        if response.status_code == 503:
            for sequence in sequences:
                sequence.close()

    with httpx.Client(event_hooks={"response": [make_room]}) as http_client:
        patient = client.with_options(max_retries=1, http_client=http_client)
        assert len(Joined(patient.chat.completions.create(**fields, n=3)).choices) == 3


def test_comments_while_nothing_comes_are_not_seen(client, model, monkeypatch):
    monkeypatch.setattr(responses, "HEARTBEAT_SECONDS", 0.0005)
    long = [{"role": "user", "content": "a prefill that takes its time " * 40}]
    fields = {"model": model, "messages": long, "max_tokens": 20, "temperature": 0, **extra()}
    with client.chat.completions.with_streaming_response.create(**fields, stream=True) as response:
        assert response.read().startswith(b": heartbeat\n\n")
    assert_stream_is_plain(client.chat.completions.create, fields)


async def test_the_asynchronous_client(async_client, model, tiny_engine):
    fields = {"model": model, "messages": CHAT, "max_tokens": 12, "n": 2, "seed": 1, "logprobs": True, **extra()}
    plain = await async_client.chat.completions.create(**fields)
    stream = await async_client.chat.completions.create(**fields, stream=True)
    assert Joined([chunk async for chunk in stream]).choices == plain_choices(plain)
    text = await async_client.completions.create(model=model, prompt="the", max_tokens=3, **extra())
    assert text.usage.completion_tokens == 3
    assert [item.id async for item in async_client.models.list()] == [model]
    with pytest.raises(openai.BadRequestError):
        await async_client.completions.create(model=model, prompt="the", suffix="x")
    stream = await async_client.completions.create(model=model, prompt="the", max_tokens=1500, stream=True, **extra())
    async for _ in stream:
        break
    await stream.close()
    eventually(lambda: tiny_engine.stats().running == 0)


def test_the_client_of_npm(tiny_url, request):
    run_node_tests("openai", "chat.test.mjs", request.config.cache, KVTAPE_URL=tiny_url, KVTAPE_KEY="LS-test")
