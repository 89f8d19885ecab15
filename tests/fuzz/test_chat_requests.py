"""Chat requests with anything in place of anything: each gets an answer or a refusal in its dialect's shape."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from kvtape.server import create_app
from tests.serving import running, tiny_engine

__all__ = ["tiny_engine"]

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {
        "model": "any",
        "messages": [
            {"role": "system", "content": "the system"},
            {"role": "user", "content": [{"type": "text", "text": "the user"}]},
            {"role": "assistant", "content": None, "reasoning_content": "so", "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "c", "content": "2"},
        ],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": SCHEMA, "strict": True}}],
        "tool_choice": "auto",
        "parallel_tool_calls": False,
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA, "strict": True}},
        "max_tokens": 3,
        "temperature": 0.5,
        "stop": ["x"],
        "n": 1,
        "logprobs": True,
        "top_logprobs": 2,
        "logit_bias": {"5": 1},
        "stream": False,
        "stream_options": None,
        "reasoning_effort": "low",
        "chat_template_kwargs": {"enable_thinking": True},
    },
    "/v1/completions": {
        "model": "any",
        "prompt": ["the", "system"],
        "max_tokens": 2,
        "n": 1,
        "best_of": 1,
        "echo": False,
        "logprobs": 2,
        "stop": "x",
        "regex": "[a-z ]+",
        "stream": False,
        "seed": 3,
    },
    "/v1/messages": {
        "model": "any",
        "max_tokens": 4,
        "system": [{"type": "text", "text": "the system", "cache_control": {"type": "ephemeral"}}],
        "messages": [
            {"role": "user", "content": "the user"},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "so", "signature": "s"},
                    {"type": "text", "text": "a"},
                    {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "2"}]},
                    {"type": "text", "text": "and?"},
                ],
            },
        ],
        "tools": [{"name": "f", "description": "d", "input_schema": SCHEMA}],
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
        "thinking": {"type": "disabled"},
        "output_config": {"effort": "low"},
        "stop_sequences": ["x"],
        "stream": False,
    },
}
JUNK: list[Any] = [
    None, True, 0, -1, 3.5, 1e308, 1 << 63, 1 << 70, "", "x", "auto", "required", "any", "\x00", "\ud800", "a" * 5000,
    [], [[]], {}, [{}], ["x", 1], {"a": {"b": [1]}}, {"type": "tool", "name": "f"}, {"type": "json_object"},
    {"type": "function", "function": {"name": "f"}}, "<tool_call>", "<|im_end|>",
]  # fmt: skip


@pytest.fixture(scope="module")
def http(tiny_engine) -> Iterator[httpx.Client]:
    with running(create_app(tiny_engine)) as url, httpx.Client(base_url=url, timeout=60) as client:
        yield client


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a JSON value, as the keys that lead to it."""
    if path:
        yield path
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield from places(value[key], (*path, key))


def spoiled(body: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    """Return a copy in which one place, or a few, have something else or nothing."""
    body = copy.deepcopy(body)
    for _ in range(rng.choice([1, 1, 2, 3])):
        *path, key = rng.choice([*places(body), ("more",)])
        target: Any = body
        for step in path:
            target = target[step]
        if rng.random() < 0.25 and key != "more":
            del target[key]
        else:
            target[key] = copy.deepcopy(rng.choice(JUNK))
    return body


@pytest.mark.parametrize("route", [*BODIES, "/v1/messages/count_tokens"])
@pytest.mark.parametrize("seed", range(4))
def test_anything_is_answered_or_refused(http, route, seed):
    rng = random.Random(f"{route} {seed}")
    statuses = set()
    for _ in range(40):
        body = spoiled(BODIES[route.removesuffix("/count_tokens")], rng)
        response = http.post(route, content=json.dumps(body).encode(), headers={"content-type": "application/json"})
        assert response.status_code in (200, 400), (response.text, body)
        statuses.add(response.status_code)
        if response.status_code == 400:
            error = response.json()["error"]
            assert error["message"]
            assert error["type"] == "invalid_request_error"
    assert statuses == {200, 400}
    assert http.get("/health").json()["status"] == "ok"
