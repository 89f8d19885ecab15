"""Chat completions over HTTP."""

from __future__ import annotations

import json

import pytest

from kvtape.protocols.sse import SseDecoder

BODY = {"messages": [{"role": "user", "content": "the system"}], "max_tokens": 8, "temperature": 0, "ignore_eos": True}


def chat(http, **fields):
    response = http.post("/v1/chat/completions", json={**BODY, **fields})
    assert response.status_code == 200, response.text
    return response


def frames(response):
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["cache-control"] == "no-cache"
    events = SseDecoder().feed(response.content)
    assert all(event.event == "" for event in events)
    assert events[-1].data == "[DONE]"
    return [json.loads(event.data) for event in events[:-1]]


def test_a_plain_reply(http):
    body = chat(http).json()
    assert body["id"].startswith("chatcmpl-")
    assert body["object"] == "chat.completion"
    assert body["model"] == http.get("/v1/models").json()["data"][0]["id"]
    (choice,) = body["choices"]
    assert choice["finish_reason"] == "length"
    assert choice["message"]["role"] == "assistant"
    assert isinstance(choice["message"]["content"], str)
    assert body["usage"]["completion_tokens"] == 8
    assert body["usage"]["total_tokens"] == body["usage"]["prompt_tokens"] + 8


def test_a_stream_adds_up_to_the_plain_reply(http):
    plain = chat(http).json()
    chunks = frames(chat(http, stream=True))
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert chunks[-1]["choices"][0]["delta"] == {}
    assert chunks[-1]["choices"][0]["finish_reason"] == "length"
    text = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)
    assert text == plain["choices"][0]["message"]["content"]
    assert all("usage" not in chunk for chunk in chunks)


def test_usage_comes_last_where_it_is_asked_for(http):
    *chunks, last = frames(chat(http, stream=True, stream_options={"include_usage": True}))
    assert all(chunk["usage"] is None for chunk in chunks)
    assert last["choices"] == []
    assert last["usage"]["completion_tokens"] == 8


@pytest.mark.parametrize("stream", [False, True])
def test_logprobs_are_those_of_every_token(http, stream):
    response = chat(http, stream=stream, logprobs=True, top_logprobs=3)
    choice = frames(response)[-1]["choices"][0] if stream else response.json()["choices"][0]
    entries = choice["logprobs"]["content"]
    assert len(entries) == 8
    for entry in entries:
        assert len(entry["top_logprobs"]) == 3
        assert entry["logprob"] == entry["top_logprobs"][0]["logprob"] <= 0  # greedy
        assert bytes(entry["bytes"]).decode("utf-8", "replace") == entry["token"]
        values = [top["logprob"] for top in entry["top_logprobs"]]
        assert values == sorted(values, reverse=True)


def test_a_seed_repeats_and_another_differs(http):
    texts = [
        chat(http, temperature=2.0, top_p=1.0, max_tokens=24, seed=seed).json()["choices"][0]["message"]["content"]
        for seed in (7, 7, 8)
    ]
    assert texts[0] == texts[1] != texts[2]


def test_stop_strings_end_the_reply(http):
    text = chat(http, max_tokens=40).json()["choices"][0]["message"]["content"]
    stop = text[3:5]
    body = chat(http, max_tokens=40, stop=[stop]).json()
    assert body["choices"][0]["message"]["content"] == text[: text.index(stop)]
    assert body["choices"][0]["finish_reason"] == "stop"


def test_a_repeated_prompt_is_read_from_the_cache(http):
    message = [{"role": "user", "content": "the system and the user " * 20}]
    usages = [chat(http, messages=message).json()["usage"] for _ in range(2)]
    assert usages[0]["prompt_tokens"] == usages[1]["prompt_tokens"]
    assert usages[1]["prompt_tokens_details"]["cached_tokens"] > usages[1]["prompt_tokens"] - 70


@pytest.mark.parametrize("stream", [False, True])
def test_overflow_is_a_400_before_anything_streams(http, stream):
    body = {**BODY, "messages": [{"role": "user", "content": "x" * 4000}], "stream": stream}
    response = http.post("/v1/chat/completions", json=body)
    assert response.status_code == 400
    error = response.json()["error"]
    assert (error["code"], error["param"]) == ("context_length_exceeded", "messages")


@pytest.mark.parametrize(
    ("content", "headers", "param"),
    [
        (b"{", {}, None),
        (b'{"messages": [], "stream": true}', {}, "messages"),
        (json.dumps({**BODY, "tools": [{}]}).encode(), {}, "tools"),
        (json.dumps({**BODY, "temperature": 9}).encode(), {}, "temperature"),
        (json.dumps({**BODY, "logit_bias": {"70000000": 1}}).encode(), {}, None),
        (json.dumps(BODY).encode(), {"x-layerscale-session-id": "sess_1"}, "x-layerscale-session-id"),
        (json.dumps({**BODY, "messages": [{"role": "user", "content": "\ud800"}]}).encode(), {}, None),
    ],
)
def test_bad_requests_name_what_is_wrong(http, content, headers, param):
    response = http.post("/v1/chat/completions", content=content, headers=headers)
    assert response.status_code == 400, response.text
    error = response.json()["error"]
    assert error["type"] == "invalid_request_error"
    if param is not None:
        assert error["param"] == param
