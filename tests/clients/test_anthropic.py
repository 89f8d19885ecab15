"""The published Python client `anthropic`, unmodified, against our server.

Its second generation has no sampling parameters any more and says so in `anthropic-version`; they go in `extra_body`.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading

import anthropic
import httpx
import pytest

from kvtape import Engine
from kvtape.errors import Overloaded
from kvtape.server import create_app
from tests.clients.npm import run_node_tests
from tests.serving import eventually, running

HELLO = {"role": "user", "content": "the system and the user"}
REQUEST = {"model": "any", "max_tokens": 8, "messages": [HELLO], "extra_body": {"temperature": 0, "ignore_eos": True}}


@pytest.fixture
def client(tiny_url):
    with anthropic.Anthropic(base_url=tiny_url, api_key="LS-test", max_retries=0) as client:
        yield client


@pytest.fixture
async def async_client(tiny_url):
    async with anthropic.AsyncAnthropic(base_url=tiny_url, api_key="LS-test", max_retries=0) as client:
        yield client


def comparable(message):
    usage = message.usage
    prompt = usage.input_tokens + usage.cache_read_input_tokens + usage.cache_creation_input_tokens
    text = "".join(block.text for block in message.content)
    return text, message.stop_reason, message.stop_sequence, prompt, usage.output_tokens


def test_a_message(client):
    message = client.messages.create(**REQUEST)
    (block,) = message.content
    assert (message.type, message.role, block.type) == ("message", "assistant", "text")
    assert message.model == client.models.list().data[0].id
    assert (message.stop_reason, message.stop_sequence) == ("max_tokens", None)
    assert message.usage.output_tokens == 8
    assert message._request_id.startswith("req_")


def test_a_conversation_goes_on(client):
    first = client.messages.create(**REQUEST)
    follow_up = [HELLO, first.to_param(), {"role": "user", "content": [{"type": "text", "text": "and a cache"}]}]
    second = client.messages.create(**{**REQUEST, "messages": follow_up}, system=[{"type": "text", "text": "the"}])
    assert second.usage.output_tokens == 8


def test_counting(client):
    request = {"model": "any", "messages": [HELLO], "system": "the system"}
    n_tokens = client.messages.count_tokens(**request).input_tokens
    assert n_tokens == comparable(client.messages.create(**{**REQUEST, **request}))[3]


def test_counting_tools_and_what_they_said(client):
    tools = [{"name": name, "input_schema": {"type": "object", "properties": {"a": {}}}} for name in ("f", "g")]
    used = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": [1, "x"]}}
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "no such thing", "is_error": True}
    messages = [HELLO, {"role": "assistant", "content": [used]}, {"role": "user", "content": [result]}]
    counts = []
    for fields in ({"messages": messages, "tools": tools}, {"messages": messages, "tools": tools[:1]}, {"tools": []}):
        request = {**REQUEST, **fields}
        n_prompt = comparable(client.messages.create(**request))[3]
        del request["max_tokens"], request["extra_body"]
        counts.append(client.messages.count_tokens(**request).input_tokens)
        assert counts[-1] == n_prompt
    assert counts == sorted(set(counts), reverse=True)


def test_a_marked_tool(client):
    tools = [{"name": name, "input_schema": {"type": "object"}, "description": "Long. " * 30} for name in ("f", "g")]
    tools[0]["cache_control"] = {"type": "ephemeral"}
    first, second = (client.messages.create(**REQUEST, tools=tools).usage for _ in range(2))
    assert first.cache_creation_input_tokens > 100
    assert first.input_tokens > 100  # the other tool, and the question
    assert second.cache_read_input_tokens > first.cache_creation_input_tokens


def test_the_stream_helper(client):
    plain = client.messages.create(**REQUEST)
    with client.messages.stream(**REQUEST) as stream:
        events = list(stream)
        final = stream.get_final_message()
    kinds = [event.type for event in events]
    assert kinds[:2] == ["message_start", "content_block_start"]
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert "".join(event.text for event in events if event.type == "text") == plain.content[0].text
    assert comparable(final) == comparable(plain)
    with client.messages.stream(**REQUEST) as stream:
        assert "".join(stream.text_stream) == plain.content[0].text


def test_the_raw_stream(client):
    with client.messages.create(**REQUEST, stream=True) as stream:
        events = list(stream)
    assert events[0].message.usage.input_tokens > 0
    assert events[-2].usage.output_tokens == 8
    assert events[-2].delta.stop_reason == "max_tokens"


def test_streamed_equals_plain(client, rng):
    words = ["the", " system", " user", "é", "\n", "☃", " and"]
    for _ in range(10):
        request = {
            "model": "any",
            "max_tokens": int(rng.integers(1, 24)),
            "messages": [{"role": "user", "content": "".join(rng.choice(words, size=12))}],
            "stop_sequences": [chr(int(code)) for code in rng.integers(0x20, 0x7F, size=3)],
            "extra_body": {"temperature": float(rng.random()), "seed": int(rng.integers(1 << 30))},
        }
        plain = client.messages.create(**request)
        with client.messages.stream(**request) as stream:
            assert comparable(stream.get_final_message()) == comparable(plain)


def test_a_cached_prompt(client):
    mark = {"type": "ephemeral"}
    request = {**REQUEST, "messages": [{"role": "user", "content": "a prompt of this test alone " * 20}]}
    first, second = (client.messages.create(**request, cache_control=mark).usage for _ in range(2))
    assert first.input_tokens == second.input_tokens == 0
    assert first.cache_creation_input_tokens > 200
    assert second.cache_read_input_tokens > 200
    assert first.cache_creation_input_tokens + first.cache_read_input_tokens == (
        second.cache_creation_input_tokens + second.cache_read_input_tokens
    )


def test_the_beta_namespace_is_the_same_route(client):
    assert comparable(client.beta.messages.create(**REQUEST)) == comparable(client.messages.create(**REQUEST))
    assert client.beta.messages.count_tokens(model="any", messages=[HELLO]).input_tokens > 0


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"max_tokens": 0}, "max_tokens"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools[0].type"),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, "thinking"),
        ({"messages": [{"role": "user", "content": [{"type": "image", "source": {}}]}]}, "messages[0].content[0]"),
        ({"messages": [{"role": "user", "content": "x" * 4000}]}, "prompt is too long"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_bad_requests_are_not_retried(client, tiny_url, fields, named, stream):
    headers = {"x-api-key": "LS-test"}
    before = httpx.get(f"{tiny_url}/health", headers=headers).json()["requests_failed"]
    with pytest.raises(anthropic.BadRequestError) as caught:
        client.with_options(max_retries=2).messages.create(**{**REQUEST, **fields}, stream=stream)
    assert named in caught.value.body["error"]["message"]
    assert caught.value.body["error"]["type"] == "invalid_request_error"
    assert caught.value.request_id == caught.value.body["request_id"]
    assert httpx.get(f"{tiny_url}/health", headers=headers).json()["requests_failed"] == before + 1


def test_errors_are_its_typed_ones(client):
    with pytest.raises(anthropic.AuthenticationError):
        client.with_options(api_key="LS-wrong").messages.create(**REQUEST)
    with pytest.raises(anthropic.NotFoundError):
        client.messages.batches.list()
    with pytest.raises(anthropic.NotFoundError):
        client.models.retrieve("nobody")


def test_an_overloaded_server(tiny_engine):
    app = create_app(tiny_engine)
    with running(app) as url, anthropic.Anthropic(base_url=url, api_key="any", max_retries=0) as client:
        app.state.runtime.drain()
        with pytest.raises(anthropic.OverloadedError) as caught:
            client.messages.create(**REQUEST)
    assert caught.value.status_code == 529


@pytest.mark.parametrize("stream", [False, True])
def test_a_full_server_is_asked_again(client, tiny_engine, tiny_url, stream):
    taken = []
    with contextlib.suppress(Overloaded):
        while True:
            taken.append(tiny_engine.open())
    headers = {"x-api-key": "LS-test"}
    before = httpx.get(f"{tiny_url}/health", headers=headers).json()["requests_failed"]

    def free():
        eventually(lambda: httpx.get(f"{tiny_url}/health", headers=headers).json()["requests_failed"] > before)
        for sequence in taken:
            sequence.close()

    freeing = threading.Thread(target=free)
    freeing.start()
    retrying = client.with_options(max_retries=3)
    if stream:
        with retrying.messages.stream(**REQUEST) as events:
            message = events.get_final_message()
    else:
        message = retrying.messages.create(**REQUEST)
    freeing.join()
    assert message.usage.output_tokens == 8


def test_both_ways_to_present_a_key(tiny_url):
    earlier = {"x-api-key": "LS-test", "authorization": anthropic.Omit(), "anthropic-version": "2023-06-01"}
    for credentials in (
        {"api_key": "LS-test"},
        {"auth_token": "LS-test"},
        {"api_key": "-", "default_headers": earlier},
    ):
        with anthropic.Anthropic(base_url=tiny_url, **credentials) as client:
            assert client.messages.create(**REQUEST).content


def test_a_stream_that_is_left_is_cancelled(client, tiny_engine):
    with client.messages.stream(**{**REQUEST, "max_tokens": 1900}) as stream:
        next(stream.text_stream)
        assert tiny_engine.stats().running == 1
    eventually(lambda: tiny_engine.stats().running == 0)


async def test_the_asynchronous_client(async_client):
    plain = await async_client.messages.create(**REQUEST)
    async with async_client.messages.stream(**REQUEST) as stream:
        assert "".join([text async for text in stream.text_stream]) == plain.content[0].text
        assert comparable(await stream.get_final_message()) == comparable(plain)
    assert (await async_client.messages.count_tokens(model="any", messages=[HELLO])).input_tokens > 0
    with pytest.raises(anthropic.BadRequestError):
        await async_client.messages.create(**{**REQUEST, "max_tokens": 0})


async def test_a_cancelled_task_cancels_its_generation(async_client, tiny_engine):
    task = asyncio.create_task(async_client.messages.create(**{**REQUEST, "max_tokens": 1900}))
    while tiny_engine.stats().running == 0:
        await asyncio.sleep(0.005)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.to_thread(eventually, lambda: tiny_engine.stats().running == 0)


@pytest.mark.model
def test_a_real_model(model_path):
    question = {"role": "user", "content": "What is the capital of France? Answer in one sentence."}
    request = {"model": "any", "max_tokens": 40, "messages": [question], "extra_body": {"temperature": 0}}
    engine = Engine(model_path, n_ctx=2048, kv_memory="256M")
    with engine, running(create_app(engine)) as url, anthropic.Anthropic(base_url=url, api_key="any") as client:
        message = client.messages.create(**request)
        assert "Paris" in message.content[0].text
        assert (message.stop_reason, message.stop_sequence) == ("end_turn", None)
        stopped = client.messages.create(**request, stop_sequences=["Lyon", "Paris"])
        assert (stopped.stop_reason, stopped.stop_sequence) == ("stop_sequence", "Paris")
        assert "Paris" not in stopped.content[0].text
        city = {"city": {"type": "string"}}
        schema = {"type": "object", "properties": city, "required": ["city"], "additionalProperties": False}
        weather = {"name": "weather", "description": "Says how the weather is.", "input_schema": schema}
        asked = {**request, "messages": [{"role": "user", "content": "How is the weather in Paris?"}]}
        choice = {"type": "tool", "name": "weather", "disable_parallel_tool_use": True}
        called = client.messages.create(**asked, tools=[weather], tool_choice=choice)
        assert (called.content[0].name, called.stop_reason) == ("weather", "tool_use")
        assert "Paris" in called.content[0].input["city"]
        begun = {"role": "assistant", "content": "The capital of France is"}
        continued = client.messages.create(**{**request, "messages": [question, begun]})
        assert continued.content[0].text.startswith(" Paris")


def test_the_client_of_npm(tiny_url, request):
    run_node_tests("anthropic", "messages.test.mjs", request.config.cache, KVTAPE_URL=tiny_url, KVTAPE_KEY="LS-test")
