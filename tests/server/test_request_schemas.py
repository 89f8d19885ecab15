"""Schemas of request bodies against the codecs: what one takes the other takes."""

from __future__ import annotations

import json
from functools import partial

import pytest
from jsonschema import Draft202012Validator

from kvtape.errors import InvalidRequest
from kvtape.protocols.anthropic.codec import decode_count_request, decode_message_request
from kvtape.protocols.layerscale import models
from kvtape.protocols.layerscale.create import decode_create, decode_flash
from kvtape.protocols.layerscale.generate import decode_generate
from kvtape.protocols.layerscale.warm import decode_warm
from kvtape.protocols.openai.codec import decode_chat_request
from kvtape.protocols.openai.completions_codec import decode_completions_request
from kvtape.server import create_app
from kvtape.server.openapi import make_document
from kvtape.server.request_schemas import REFINED
from tests.fuzz.test_chat_requests import BODIES

CREATE = {"type": "iot", "prompt": "x", "context": 100, "flash": ["a?", {"query": "b?", "max_tokens": 900}]}
TEXT = {
    "id": "mine",
    "window": 50,
    "pre_decode": True,
    "overflow": "conflate",
    "flash": [{"query": "b?", "choices": ["x", "y"]}],
}
GENERATE = {"prompt": "x", "max_tokens": 5, "temperature": 0.5, "stop": ["a"], "stream": True, "fast_answer": True}
CODECS = {
    "ChatRequest": (decode_chat_request, BODIES["/v1/chat/completions"]),
    "CompletionsRequest": (decode_completions_request, BODIES["/v1/completions"]),
    "MessageRequest": (decode_message_request, BODIES["/v1/messages"]),
    "CountRequest": (decode_count_request, BODIES["/v1/messages"]),
    "InitRequest": (partial(decode_create, wire=1), CREATE),
    "CreateRequest": (partial(decode_create, wire=2), {**TEXT, "type": "text"}),
    "FlashRequest": (decode_flash, {"query": "up?", "max_tokens": 1000}),
    "WarmRequest": (decode_warm, {"messages": [{"role": "user", "content": "x"}], "reasoning_effort": "low"}),
    "GenerateRequest": (partial(decode_generate, wire=1), GENERATE),
}
SPOILED = [
    ("ChatRequest", {"temperature": 2.5}),
    ("ChatRequest", {"messages": []}),
    ("ChatRequest", {"n": 0}),
    ("ChatRequest", {"top_logprobs": 21}),
    ("ChatRequest", {"stop": ["a", "b", "c", "d", "e"]}),
    ("ChatRequest", {"stop": ""}),
    ("ChatRequest", {"logit_bias": {"x": 1}}),
    ("ChatRequest", {"logit_bias": {"1": 101}}),
    ("ChatRequest", {"reasoning_effort": "some"}),
    ("ChatRequest", {"chat_template_kwargs": {"add_generation_prompt": False}}),
    ("ChatRequest", {"tool_choice": "any"}),
    ("ChatRequest", {"tools": [{"function": {"name": "a b"}}]}),
    ("ChatRequest", {"modalities": ["audio"]}),
    ("ChatRequest", {"service_tier": "x"}),
    ("ChatRequest", {"response_format": {"type": "xml"}}),
    ("CompletionsRequest", {"prompt": []}),
    ("CompletionsRequest", {"prompt": [["x"]]}),
    ("CompletionsRequest", {"logprobs": 6}),
    ("MessageRequest", {"max_tokens": None}),
    ("MessageRequest", {"temperature": 1.5}),
    ("MessageRequest", {"speed": "fast"}),
    ("MessageRequest", {"tools": [{"name": "f"}]}),
    ("CountRequest", {"thinking": {"type": "enabled"}}),
    ("InitRequest", {"type": "text"}),
    ("InitRequest", {"context": 0}),
    ("InitRequest", {"window_size": -1}),
    ("CreateRequest", {"type": "ohlcv"}),
    ("CreateRequest", {"overflow": "drop"}),
    ("FlashRequest", {"query": " "}),
    ("GenerateRequest", {"prompt": ""}),
    ("GenerateRequest", {"max_tokens": 0}),
    ("GenerateRequest", {"clear_after": -1}),
    ("GenerateRequest", {"temperature": 3}),
    ("GenerateRequest", {"gap_threshold": -1}),
    ("WarmRequest", {"messages": []}),
    ("WarmRequest", {"thinking_budget": -1}),
    ("GenerateRequest", {"fast_answer": [""]}),
    ("GenerateRequest", {"chat_template_kwargs": {"date_string": "x"}}),
]


@pytest.fixture(scope="module")
def document():
    return make_document(create_app(lambda: None).routes)


def is_described(document, name, body):
    schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
    return Draft202012Validator(schema).is_valid(body)


@pytest.mark.parametrize("name", CODECS)
def test_what_is_described_is_taken(document, name):
    decode, body = CODECS[name]
    assert is_described(document, name, body)
    decode(json.dumps(body).encode())


@pytest.mark.parametrize(("name", "change"), SPOILED)
def test_what_is_refused_is_not_described(document, name, change):
    decode, body = CODECS[name]
    spoiled = {**body, **change}
    assert not is_described(document, name, spoiled)
    with pytest.raises(InvalidRequest):
        decode(json.dumps(spoiled).encode())


def test_refinements_name_fields_that_there_are():
    for model, refined in REFINED.items():
        assert set(refined) <= set(model.__struct_fields__), model


def test_a_prompt_there_must_be(document):
    body = {name: value for name, value in BODIES["/v1/completions"].items() if name != "prompt"}
    assert not is_described(document, "CompletionsRequest", body)


def test_a_type_there_must_be_where_sessions_have_one(document):
    body = {name: value for name, value in CREATE.items() if name != "type"}
    assert not is_described(document, "InitRequest", body)
    assert is_described(document, "CreateRequest", body)


def test_every_body_has_its_codec_here(document):
    described = {name for name in document["components"]["schemas"] if name.endswith("Request")}
    simple = {models.AppendRequest.__name__, models.PushRequest.__name__}  # a text; rows: test_openapi
    assert described == set(CODECS) | simple
