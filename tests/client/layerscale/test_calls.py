"""Each call as it goes over the wire, and answers of the specification's words as they come back."""

from __future__ import annotations

import inspect
import json

import msgspec
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from kvtape.client import AsyncLayerScale, LayerScale
from kvtape.client.layerscale import calls, question_calls, session_calls
from kvtape.errors import ContextOverflow, Overloaded
from kvtape.protocols.anthropic import reply_models
from tests.serving import running

SESSION = {
    "id": "desk", "object": "session", "created": 1, "last_used": 2, "tokens": 9, "kv_tokens": 9, "data_end": 8,
    "data_version": 3, "pending": 0, "turns": 1, "evicted": 4, "busy": False, "pre_decode": True, "ready": True,
    "ready_token": 5, "ready_gap": 2.5, "window": 100, "frozen_end": 2, "session_id": "desk", "type": "text",
    "n_tokens": 9, "context": 2048, "context_size": 2048, "window_size": 100, "pos_min": 0, "pos_max": 8, "pos_next": 9,
    "prefix_end": 2, "data_region": {"start": 2, "end": 8, "window_size": 100}, "data_count": 0, "pending_prefill": 0,
    "cache_usage": 0.1, "created_at": 1, "last_used_at": 2, "in_use": False, "last_inject_us": 0, "flash_queries": 0,
    "tokens_per_row": 0.0,
}  # fmt: skip
WARM = {
    "id": "warm_1", "object": "session.warm", "session_id": "desk", "finish_reason": "warmed", "prompt_tokens": 12,
    "cached_tokens": 4, "prefix_cached_tokens": 0, "data_version": 3,
}  # fmt: skip
GENERATED = {
    "text": "yes", "finish_reason": "stop", "n_tokens": 0, "total_tokens": 9, "pos_max": 8, "id": "gen_1",
    "object": "session.generation", "session_id": "desk", "data_version": 3,
    "usage": {"prompt_tokens": 0, "completion_tokens": 0}, "speculative": True, "logit_gap": 3.5,
}  # fmt: skip
PUSHED = {
    "pushed": 1, "dropped": 0, "queue_size": 0, "queue_capacity": 9, "total_enqueued": 1, "total_dropped": 0,
    "pending": 0, "pending_bytes": 0, "total_pushed": 1, "data_version": 3,
}  # fmt: skip
REGISTERED = {
    "id": 1, "object": "flash_query", "query": "up?", "max_tokens": 32, "tokens": 3, "n_tokens": 3, "fresh": False,
    "choices": ["yes", "no"], "total_flash_queries": 1,
}  # fmt: skip
MESSAGE = (
    b'{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[{"type":"thinking","thinking":"hm",'
    b'"signature":"x"},{"type":"text","text":"sunny"},{"type":"tool_use","id":"toolu_1","name":"weather","input":'
    b'{"n":12345678901234567890}}],"stop_reason":"tool_use","stop_sequence":null,"usage":{"input_tokens":9,'
    b'"output_tokens":5,"cache_creation_input_tokens":0,"cache_read_input_tokens":2}}'
)
MESSAGE_STREAM = (
    b'event: message_start\ndata: {"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant",'
    b'"model":"m","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":9,"output_tokens":0,'
    b'"cache_creation_input_tokens":0,"cache_read_input_tokens":0}}}\n\n'
    b'event: ping\ndata: {"type":"ping"}\n\n'
    b'event: content_block_start\ndata: {"type":"content_block_start","index":0,"content_block":{"type":"text",'
    b'"text":""}}\n\n'
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta",'
    b'"text":"sunny"}}\n\n'
    b'event: content_block_stop\ndata: {"type":"content_block_stop","index":0}\n\n'
    b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},'
    b'"usage":{"input_tokens":7,"output_tokens":1,"cache_creation_input_tokens":0,"cache_read_input_tokens":2}}\n\n'
    b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
)
PIECES = (
    b'data: {"done":false,"token":"y","text":"y","pos":9}\n\n'
    b'data: {"done":false,"token":"es","text":"es","pos":10}\n\n'
    b"data: %s\n\n" % json.dumps({"done": True, **GENERATED}).encode()
)


class Script:
    """An app that gives one answer to everything and keeps what it was asked."""

    def __init__(self):
        self.answer, self.media_type, self.status = b"{}", "application/json", 200
        self.app = Starlette(routes=[Route("/{path:path}", self._serve, methods=["GET", "POST", "DELETE"])])

    async def _serve(self, request: Request) -> Response:
        self.method, self.path = request.method, request.scope["raw_path"].decode()
        self.bound_to = request.headers.get("x-layerscale-session-id")
        body = await request.body()
        self.body = json.loads(body) if body else None
        return Response(self.answer, self.status, media_type=self.media_type)

    def says(self, answer, *, status=200):
        self.answer = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.media_type = "text/event-stream" if self.answer.startswith((b"data:", b"event:")) else "application/json"
        self.status = status


@pytest.fixture(scope="module")
def script():
    return Script()


@pytest.fixture(scope="module")
def scripted_url(script):
    with running(script.app) as url:
        yield url


@pytest.fixture
def client(scripted_url):
    with LayerScale(scripted_url) as client:
        yield client


CHAT = [{"role": "user", "content": "how is the weather?"}]
TOOLS = [{"type": "function", "function": {"name": "weather"}}]


@pytest.mark.parametrize(
    ("call", "answer", "method", "path", "body"),
    [
        (lambda s: s.create_text(), SESSION, "POST", "/v1/sessions", {}),
        (
            lambda s: s.create_text(id="desk", window=100, pre_decode=True, overflow="conflate"),
            SESSION, "POST", "/v1/sessions",
            {"id": "desk", "window": 100, "pre_decode": True, "overflow": "conflate"},
        ),
        (
            lambda s: s.create(
                type="iot", prompt="p", context=500, window=100, overflow="drop_oldest", mark_prefix=True,
                flash=["up?", {"query": "down?", "max_tokens": 2, "choices": ["yes", "no"]}],
            ),
            SESSION, "POST", "/v1/sessions/init",
            {
                "type": "iot", "prompt": "p", "context": 500, "window": 100, "overflow": "drop_oldest",
                "mark_prefix": True, "flash": ["up?", {"query": "down?", "max_tokens": 2, "choices": ["yes", "no"]}],
            },
        ),
        (lambda s: s.get("a/b"), SESSION, "GET", "/v1/sessions/a%2Fb", None),
        (lambda s: s.state("desk"), SESSION, "GET", "/v1/sessions/desk/state", None),
        (lambda s: s.push("desk", "news"), PUSHED, "POST", "/v1/sessions/desk/push", {"data": "news"}),
        (lambda s: s.push("desk", ("a", "b")), PUSHED, "POST", "/v1/sessions/desk/push", {"data": ["a", "b"]}),
        (
            lambda s: s.push("desk", [{"o": 1}, "a"]),
            PUSHED, "POST", "/v1/sessions/desk/push", {"data": [{"o": 1}, "a"]},
        ),
        (
            lambda s: s.push("desk", [{"o": 1}]),
            PUSHED, "POST", "/v1/sessions/desk/stream/push", {"data": [{"o": 1}]},
        ),
        (
            lambda s: s.generate("desk", "up?", fast_answer=["yes", "no"], gap_threshold=1.5, reasoning_effort="low"),
            GENERATED, "POST", "/v1/sessions/desk/generate",
            {
                "prompt": "up?", "fast_answer": ["yes", "no"], "gap_threshold": 1.5, "reasoning_effort": "low",
                "stream": False,
            },
        ),
        (
            lambda s: s.generate("desk", messages=CHAT, tools=TOOLS, max_tokens=9, fast_answer=True, clear_after=1),
            GENERATED, "POST", "/v1/sessions/desk/generate",
            {
                "messages": CHAT, "tools": TOOLS, "max_tokens": 9, "fast_answer": True, "clear_after": 1,
                "stream": False,
            },
        ),
        (
            lambda s: s.warm("desk", CHAT, tools=TOOLS, reasoning_effort="none"),
            WARM, "POST", "/v1/sessions/desk/warm",
            {"messages": CHAT, "tools": TOOLS, "reasoning_effort": "none"},
        ),
        (
            lambda s: s.flash("desk", "up?", max_tokens=4, choices=["yes", "no"]),
            REGISTERED, "POST", "/v1/sessions/desk/flash",
            {"query": "up?", "max_tokens": 4, "choices": ["yes", "no"]},
        ),
    ],
)  # fmt: skip
async def test_calls_of_sessions(script, client, scripted_url, call, answer, method, path, body):
    script.says(answer)
    result = msgspec.to_builtins(call(client.sessions))
    assert (script.method, script.path, script.body) == (method, path, body)
    assert result == {name: answer[name] for name in result}
    script.body = None
    async with AsyncLayerScale(scripted_url) as asynchronous:
        assert msgspec.to_builtins(await call(asynchronous.sessions)) == result
    assert (script.method, script.path, script.body) == (method, path, body)


@pytest.mark.parametrize("end", [b"", b"data: [DONE]\n\n"], ids=["gen-1", "gen-2"])
def test_a_streamed_answer_of_either_generation(script, client, end):
    script.says(PIECES + end)
    *pieces, last = client.sessions.generate_stream("desk", "up?")
    assert script.body == {"prompt": "up?", "stream": True}
    assert [piece.text for piece in pieces] == ["y", "es"]
    assert last.text == "yes"


@pytest.mark.parametrize("session_id", [None, "desk"])
def test_turns_may_be_bound_to_a_session(script, client, session_id):
    script.says(b'data: {"error":{"message":"full","type":"unavailable_error"}}\n\ndata: [DONE]\n\n')
    with pytest.raises(Overloaded, match="full"):
        list(client.chat.stream(CHAT, session_id=session_id, max_tokens=4))
    assert (script.path, script.bound_to) == ("/v1/chat/completions", session_id)
    assert script.body == {"messages": CHAT, "max_tokens": 4, "stream": True}
    script.says(MESSAGE)
    client.messages.create(CHAT, max_tokens=4, session_id=session_id)
    assert (script.path, script.bound_to) == ("/v1/messages", session_id)


def test_messages(script, client):
    script.says(MESSAGE)
    reply = client.messages.create(CHAT, max_tokens=4, system="s", stop_sequences=["x"])
    assert script.body == {"messages": CHAT, "max_tokens": 4, "system": "s", "stop_sequences": ["x"], "stream": False}
    thinking, text, call = reply.content
    assert (thinking.thinking, text.text, call.name) == ("hm", "sunny", "weather")
    assert json.loads(bytes(call.input)) == {"n": 12345678901234567890}
    assert reply.stop_reason == "tool_use"


def test_messages_in_a_stream(script, client):
    script.says(MESSAGE_STREAM)
    events = list(client.messages.stream(CHAT, max_tokens=4))
    assert [type(event).__name__ for event in events] == [
        "MessageStart", "BlockStart", "BlockDelta", "BlockStop", "MessageDelta", "MessageStop",
    ]  # fmt: skip
    assert events[2].delta == reply_models.TextDelta("sunny")
    assert events[4].usage.cache_read_input_tokens == 2
    error = (
        b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"m"},"request_id":""}\n\n'
    )
    script.says(MESSAGE_STREAM[: MESSAGE_STREAM.index(b"event: content_block_stop")] + error)
    with pytest.raises(Overloaded, match="m"):
        list(client.messages.stream(CHAT, max_tokens=4))


def test_tokens_are_counted(script, client):
    script.says({"input_tokens": 12})
    tools = [{"name": "weather", "input_schema": {}}]
    assert client.messages.count_tokens(CHAT, tools=tools).input_tokens == 12
    assert (script.path, script.body) == ("/v1/messages/count_tokens", {"messages": CHAT, "tools": tools})


def test_the_model_may_have_any_name(script, client):
    script.says({"error": {"message": "no such model"}}, status=404)
    with pytest.raises(LookupError):
        client.models.retrieve("org/model v1")
    assert script.path == "/v1/models/org%2Fmodel%20v1"


def test_the_words_of_an_overflow_are_understood(script, client):
    error = {"type": "invalid_request_error", "message": "prompt is too long: 9000 tokens > 2047 maximum"}
    script.says({"type": "error", "error": error, "request_id": "r"}, status=400)
    with pytest.raises(ContextOverflow) as caught:
        client.messages.create(CHAT, max_tokens=4)
    assert (caught.value.n_tokens, caught.value.limit) == (9000, 2048)


def test_both_clients_have_the_same_methods(scripted_url):
    blocking, asynchronous = LayerScale(scripted_url), AsyncLayerScale(scripted_url)

    def names(thing):
        return {name for name in dir(thing) if not name.startswith("_")}

    assert names(blocking) == names(asynchronous)
    for group in ("models", "chat", "completions", "messages", "sessions"):
        first, second = getattr(blocking, group), getattr(asynchronous, group)
        assert names(first) == names(second)
        for name in names(first):
            mine, theirs = inspect.signature(getattr(first, name)), inspect.signature(getattr(second, name))
            assert mine.parameters == theirs.parameters
    blocking.close()


def test_every_call_says_what_it_does():
    for module in (calls, session_calls, question_calls):
        for name, function in inspect.getmembers(module, inspect.isfunction):
            if not name.startswith("_"):
                assert function.__doc__, name
