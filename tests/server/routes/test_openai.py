"""Chat and raw completions over HTTP."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import struct

import httpx
import pytest

from kvtape import Engine
from kvtape.errors import Overloaded
from kvtape.protocols.sse import SseDecoder
from kvtape.server import create_app
from tests.serving import eventually, running

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
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": "", "refusal": None}
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
    choices = [chunk["choices"][0] for chunk in (frames(response) if stream else [response.json()])]
    entries = [entry for choice in choices if choice["logprobs"] for entry in choice["logprobs"]["content"]]
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
        (json.dumps({**BODY, "tools": [{}]}).encode(), {}, "tools[0].function"),
        (json.dumps({**BODY, "temperature": 9}).encode(), {}, "temperature"),
        (json.dumps({**BODY, "logit_bias": {"70000000": 1}}).encode(), {}, "logit_bias"),
        (json.dumps({**BODY, "logit_bias": {"70000000": 1}, "stream": True}).encode(), {}, "logit_bias"),
        (json.dumps(BODY).encode(), {"x-layerscale-session-id": "no id"}, "session_id"),
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


@pytest.fixture
def nearly_full(tiny_engine):
    """All sequences but two are open."""
    taken = []
    with contextlib.suppress(Overloaded):
        while True:
            taken.append(tiny_engine.open())
    for sequence in taken[:2]:
        sequence.close()
    yield
    for sequence in taken[2:]:
        sequence.close()


@pytest.mark.parametrize(("route", "prompt"), [("chat/completions", {}), ("completions", {"prompt": "the"})])
@pytest.mark.parametrize("stream", [False, True])
def test_a_server_that_is_full_says_so_by_its_status(http, nearly_full, route, prompt, stream):
    for n, status in ((3, 503), (2, 200)):
        response = http.post(f"/v1/{route}", json={**BODY, **prompt, "n": n, "stream": stream})
        assert response.status_code == status, response.text
        if status == 503:
            assert response.json()["error"]["type"] == "unavailable_error"


def test_a_client_that_breaks_off_leaves_the_loop_in_peace(url, app, caplog):
    body = json.dumps({**BODY, "max_tokens": 1500, "n": 8, "stream": True}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    host, port = url.removeprefix("http://").split(":")
    with caplog.at_level("WARNING", "asyncio"):
        for _ in range(4):
            with socket.create_connection((host, int(port))) as connection:
                connection.sendall(head + body)
                connection.recv(100)
                reset = struct.pack("ii", 1, 0)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
        eventually(lambda: app.state.runtime.engine.stats().running == 0)
    assert not caplog.records


def joined(chunks, n):
    """Return text, log-probabilities and finish reason of each choice of a stream of raw completions."""
    choices = [{"text": "", "logprobs": None, "finish_reason": None} for _ in range(n)]
    for chunk in chunks:
        for piece in chunk["choices"]:
            choice = choices[piece["index"]]
            assert choice["finish_reason"] is None
            choice["text"] += piece["text"]
            choice["finish_reason"] = piece["finish_reason"]
            if piece["logprobs"]:
                old = choice["logprobs"] or {name: [] for name in piece["logprobs"]}
                choice["logprobs"] = {name: old[name] + more for name, more in piece["logprobs"].items()}
    return choices


def spelled(raw):
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in raw)


NOTHING = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "nothing"}}}


def complete(http, **fields):
    body = {"prompt": "the system", "max_tokens": 8, "temperature": 0, "ignore_eos": True, **fields}
    response = http.post("/v1/completions", json=body)
    assert response.status_code == 200, response.text
    return response


@pytest.mark.parametrize("echo", [False, True])
@pytest.mark.parametrize(("prompt", "n"), [("the system", 1), (["the system", "a user"], 3)])
def test_raw_completions_add_up_streamed_and_plain(http, app, prompt, n, echo):
    tokenizer = app.state.runtime.engine.model.tokenizer
    fields = {"prompt": prompt, "n": n, "echo": echo, "logprobs": 2, "temperature": 1, "seed": 4}
    plain = complete(http, **fields).json()
    n_choices = n * (1 if isinstance(prompt, str) else len(prompt))
    assert plain["object"] == "text_completion"
    assert plain["id"].startswith("cmpl-")
    assert [choice.pop("index") for choice in plain["choices"]] == list(range(n_choices))
    *chunks, last = frames(complete(http, **fields, stream=True, stream_options={"include_usage": True}))
    assert {chunk["object"] for chunk in chunks} == {"text_completion"}
    assert joined(chunks, n_choices) == plain["choices"]
    for usage in (plain["usage"], last["usage"]):
        assert usage["completion_tokens"] == 8 * n_choices
        assert usage["prompt_tokens"] == plain["usage"]["prompt_tokens"]
    for index, choice in enumerate(plain["choices"]):
        text = prompt if isinstance(prompt, str) else prompt[index // n]
        assert choice["text"].startswith(text) == echo
        assert len(choice["logprobs"]["tokens"]) == 8 + len(tokenizer.encode(text)) * echo


def test_token_ids_are_a_prompt_too(http, app):
    tokenizer = app.state.runtime.engine.model.tokenizer
    ids = tokenizer.encode("the system")
    by_text = complete(http).json()["choices"]
    assert complete(http, prompt=ids).json()["choices"] == by_text
    assert complete(http, prompt=[ids, ids]).json()["choices"] == [by_text[0], {**by_text[0], "index": 1}]
    assert complete(http, prompt=ids, echo=True).json()["choices"][0]["text"] == "the system" + by_text[0]["text"]


def test_an_echo_scores_the_prompt_as_its_generation_did(http, app):
    """The tokens of a generation, given as a prompt: the same bits, though computed by forks of a prefill."""
    tokenizer = app.state.runtime.engine.model.tokenizer
    generated = complete(http, logprobs=5, max_tokens=40).json()["choices"][0]
    id_of = {spelled(raw): token_id for token_id, raw in enumerate(app.state.runtime.token_bytes) if raw}
    ids = tokenizer.encode("the system") + [id_of[token] for token in generated["logprobs"]["tokens"]]
    echoed = complete(http, prompt=ids, logprobs=5, echo=True, max_tokens=1).json()["choices"][0]["logprobs"]
    n_prompt = len(ids) - 40
    assert echoed["token_logprobs"][0] is None
    assert echoed["top_logprobs"][0] is None
    assert echoed["token_logprobs"][n_prompt:-1] == generated["logprobs"]["token_logprobs"]
    assert echoed["top_logprobs"][n_prompt:-1] == generated["logprobs"]["top_logprobs"]


def test_best_of_returns_the_most_probable(http):
    fields = {"prompt": ["the system", "a user"], "temperature": 1.5, "seed": 3, "logprobs": 0}
    candidates = complete(http, **fields, n=6).json()["choices"]
    best = complete(http, **fields, n=2, best_of=6).json()
    assert best["usage"]["completion_tokens"] == 8 * 12

    def mean(choice):
        values = choice["logprobs"]["token_logprobs"]
        return sum(values) / len(values)

    wanted = [sorted(candidates[i : i + 6], key=mean, reverse=True)[:2] for i in (0, 6)]
    assert [choice["text"] for choice in best["choices"]] == [choice["text"] for pair in wanted for choice in pair]
    hidden = complete(http, **{**fields, "logprobs": None}, n=2, best_of=6).json()["choices"]
    assert [choice["text"] for choice in hidden] == [choice["text"] for choice in best["choices"]]
    assert all(choice["logprobs"] is None for choice in hidden)


@pytest.mark.parametrize("stream", [False, True])
def test_several_choices_of_a_chat(http, stream):
    fields = {"n": 3, "temperature": 2.0, "top_p": 1.0, "seed": 5, "max_tokens": 12}
    alone = chat(http, **{**fields, "n": 1}).json()
    if stream:
        *chunks, last = frames(chat(http, **fields, stream=True, stream_options={"include_usage": True}))
        pieces = [piece for chunk in chunks for piece in chunk["choices"]]
        texts = ["".join(p["delta"].get("content", "") for p in pieces if p["index"] == i) for i in range(3)]
        reasons = [piece["finish_reason"] for piece in pieces if piece["finish_reason"]]
        usage = last["usage"]
    else:
        body = chat(http, **fields).json()
        texts = [choice["message"]["content"] for choice in body["choices"]]
        reasons = [choice["finish_reason"] for choice in body["choices"]]
        usage = body["usage"]
    assert texts[0] == alone["choices"][0]["message"]["content"]
    assert len(set(texts)) == 3
    assert reasons == ["length"] * 3
    assert usage["completion_tokens"] == 36
    assert usage["prompt_tokens"] == alone["usage"]["prompt_tokens"]


def test_every_reply_names_model_and_build(http):
    stream = frames(chat(http, stream=True))
    names = {body["system_fingerprint"] for body in (chat(http).json(), complete(http).json(), *stream)}
    (name,) = names
    assert name.startswith("fp_")


def test_a_model_file_that_is_gone_is_not_missed(tiny_model, tmp_path):
    copy = tmp_path / "copy.gguf"
    copy.write_bytes(tiny_model.read_bytes())
    with Engine(copy, n_threads=1) as engine:
        app = create_app(engine)
        copy.unlink()
        with running(app) as url, httpx.Client(base_url=url, timeout=60) as http:
            assert chat(http).json()["system_fingerprint"].startswith("fp_")


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"prompt": "x" * 4000}, "context_length_exceeded", "prompt"),
        ({"prompt": ["a", "x" * 4000], "n": 2, "stream": True}, "context_length_exceeded", "prompt[1]"),
        ({"prompt": [5, 1 << 40]}, None, "prompt"),
        ({"prompt": [[5], [-1]]}, None, "prompt[1]"),
        ({"prompt": ""}, None, "prompt"),
        ({"suffix": "."}, None, "suffix"),
        ({"regex": "(("}, None, "regex"),
        ({"grammar": "start: nowhere", "stream": True, "n": 2}, None, "grammar"),
        ({"response_format": NOTHING, "echo": True}, None, "response_format.json_schema.schema"),
        ({"logit_bias": {"70000000": 1}, "stream": True}, None, "logit_bias"),
    ],
)
def test_bad_completions_name_what_is_wrong(http, app, fields, code, param):
    n_before = app.state.runtime.engine.stats().n_sequences
    response = http.post("/v1/completions", json={"prompt": "a", **fields})
    assert response.status_code == 400, response.text
    error = response.json()["error"]
    assert (error.get("code"), error.get("param")) == (code, param)
    assert app.state.runtime.engine.stats().n_sequences == n_before


@pytest.mark.parametrize("stream", [False, True])
def test_a_completion_that_matches(http, stream):
    fields = {"n": 3, "temperature": 1.5, "seed": 1, "ignore_eos": False, "regex": "(the|a) [0-9]{3}", "stream": stream}
    response = complete(http, **fields, max_tokens=40)
    choices = joined(frames(response), 3) if stream else response.json()["choices"]
    for choice in choices:
        assert re.fullmatch("(the|a) [0-9]{3}", choice["text"])
        assert choice["finish_reason"] == "stop"


@pytest.mark.parametrize("logprobs", [None, 1])
def test_an_echo_alone_scores_its_prompt(http, logprobs):
    fields = {"prompt": ["the system", "a user"], "n": 2, "best_of": 3, "echo": True, "logprobs": logprobs}
    longer, alone = (complete(http, **fields, max_tokens=n).json() for n in (1, 0))
    assert alone["usage"]["completion_tokens"] == 0
    assert alone["usage"]["total_tokens"] == alone["usage"]["prompt_tokens"] == longer["usage"]["prompt_tokens"]
    assert [choice["text"] for choice in alone["choices"]] == ["the system"] * 2 + ["a user"] * 2
    assert {choice["finish_reason"] for choice in alone["choices"]} == {"length"}
    for one, other in zip(alone["choices"], longer["choices"], strict=True):
        expected = logprobs and {name: values[:-1] for name, values in other["logprobs"].items()}
        assert one["logprobs"] == expected


def test_an_echo_shows_neither_the_bos_nor_the_space_that_were_put_before_it(make_tiny_model):
    body = {"prompt": "the the", "echo": True, "logprobs": 1, "max_tokens": 1}
    engine = Engine(make_tiny_model(architecture="gemma3"), kv_memory="64M", n_threads=1)
    with engine, running(create_app(engine)) as url:
        choice = httpx.post(f"{url}/v1/completions", json=body).json()["choices"][0]
    assert choice["text"].startswith("the the")
    logprobs = choice["logprobs"]
    assert "<bos>" not in logprobs["tokens"]
    assert None not in logprobs["token_logprobs"]  # the BOS stands before the first
    assert logprobs["text_offset"] == sorted(logprobs["text_offset"])
    for token, offset in list(zip(logprobs["tokens"], logprobs["text_offset"], strict=True))[:-1]:
        assert choice["text"].startswith(token.removeprefix(" ") if offset == 0 else token, offset)
