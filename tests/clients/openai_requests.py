"""Random requests for the client `openai`, to compare what is streamed with what is plain."""

from __future__ import annotations

import json
import random
from typing import Any

from tests.clients.openai_replies import extra

__all__ = ["FORMATS", "TOOLS", "random_chat", "random_completion"]

WORDS = ["the", "system", "and", "a", "user", "of", "tape:", "rows,", "ünïcode,", "日本", "😀"]
SCHEMA = {
    "type": "object",
    "properties": {"unit": {"enum": ["celsius", "kelvin"]}, "sure": {"type": "boolean"}, "n": {"type": "integer"}},
    "required": ["unit"],
    "additionalProperties": False,
}
TOOLS: list[dict[str, Any]] = [
    {"type": "function", "function": {"name": "look_up", "description": "Looks it up.", "parameters": SCHEMA}},
    {"type": "function", "function": {"name": "ring-2"}},
    {"type": "function", "function": {"name": "add", "parameters": SCHEMA, "strict": True}},
]
FORMATS: list[dict[str, Any]] = [
    {"response_format": {"type": "text"}},
    {"response_format": {"type": "json_object"}},
    {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA, "strict": True}}},
    {"extra_body": {"regex": "(the|a) [0-9]{3}(日本)?"}},
    {"extra_body": {"grammar": 'start: "yes" | "no" /[ab]+/ "."'}},
]


def random_completion(rng: random.Random, model: str, text: str) -> dict[str, Any]:
    """Return a raw completion; `text` is what the model is likely to write."""
    prompt = _prompt(rng)
    return {
        "prompt": rng.choice([prompt, [prompt, "the"], [5, 6, 7], [[8, 9], [10]]]),
        "logprobs": rng.choice([None, 0, 1, 5]),
        "echo": rng.random() < 0.3,
        **_sampling(rng, model, text, max_tokens=24),
    }


def random_chat(rng: random.Random, model: str, text: str) -> dict[str, Any]:
    """Return a chat: tools, a format or neither, with reasoning that is closed by force sooner or later."""
    asks = rng.choice([_tools, _format, lambda rng: {}])(rng)
    fields = _sampling(rng, model, text, max_tokens=80 if asks else 24)
    fields["extra_body"] |= asks.pop("extra_body", {}) | _reasoning(rng)
    if asks or "regex" in fields["extra_body"] or "grammar" in fields["extra_body"]:
        fields["extra_body"]["ignore_eos"] = False  # a constraint says where a reply ends
    if rng.random() < 0.5:
        fields |= {"logprobs": True, "top_logprobs": rng.choice([0, 3, 20])}
    return {"messages": _messages(rng), **fields, **asks}


def _prompt(rng: random.Random) -> str:
    return " ".join(rng.choices(WORDS, k=rng.randrange(1, 12)))


def _sampling(rng: random.Random, model: str, text: str, *, max_tokens: int) -> dict[str, Any]:
    fields = {
        "model": model, "temperature": rng.choice([0, 0.7, 1.5]), "top_p": rng.choice([1, 0.8]),
        "seed": rng.randrange(-5, 1000), "max_tokens": rng.randrange(1, max_tokens), "n": rng.choice([1, 1, 2, 3]),
        "presence_penalty": rng.choice([0, 0.5]), "frequency_penalty": rng.choice([0, -0.5]),
        "logit_bias": {str(rng.randrange(5, 250)): rng.choice([-100, 5])}, **extra(ignore_eos=rng.random() < 0.8),
    }  # fmt: skip
    if rng.random() < 0.5 and text:  # a stop string that is likely to come
        begin = rng.randrange(len(text))
        fields["stop"] = text[begin : begin + rng.randrange(1, 5)]
    return fields


def _tools(rng: random.Random) -> dict[str, Any]:
    if rng.random() < 0.2:
        functions = [tool["function"] for tool in TOOLS[:2]]
        return {"functions": functions, "function_call": rng.choice(["auto", {"name": "look_up"}])}
    name = {"type": "function", "function": {"name": rng.choice(TOOLS)["function"]["name"]}}
    allowed = {"mode": rng.choice(["auto", "required"]), "tools": [name]}
    choice = rng.choice(["auto", "required", "none", name, {"type": "allowed_tools", "allowed_tools": allowed}])
    return {"tools": TOOLS, "tool_choice": choice, "parallel_tool_calls": rng.random() < 0.5}


def _format(rng: random.Random) -> dict[str, Any]:
    return dict(rng.choice(FORMATS))


def _reasoning(rng: random.Random) -> dict[str, Any]:
    object_form = {"enabled": True, "max_tokens": rng.randrange(1, 8)}
    ways: list[dict[str, Any]] = [{}, {"thinking_budget": rng.randrange(8)}, {"reasoning": object_form}]
    return rng.choice(ways) | rng.choice([{}, {}, {"include_reasoning": False}, {"stream_reasoning": False}])


def _messages(rng: random.Random) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    for role in rng.choices(["system", "developer", "user", "assistant", "call"], k=rng.randrange(4)):
        if role != "call":
            messages.append({"role": role, "content": rng.choice(WORDS)})
            continue
        function = {"name": "look_up", "arguments": json.dumps({"unit": "kelvin"})}
        call = {"id": f"call_{len(messages)}", "type": "function", "function": function}
        messages.append({"role": "assistant", "tool_calls": [call], "reasoning_content": rng.choice(["", "so"])})
        messages.append({"role": "tool", "tool_call_id": call["id"], "content": rng.choice(WORDS)})
    return [*messages, {"role": "user", "content": _prompt(rng)}]
