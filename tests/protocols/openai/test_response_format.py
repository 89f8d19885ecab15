"""What an answer must match."""

from __future__ import annotations

import json

import pytest

from kvtape.errors import InvalidRequest
from kvtape.protocols.openai import response_format
from kvtape.protocols.openai.request_models import JsonSchemaFormat, ResponseFormat, SamplingFields
from kvtape.types import Constraint, ConstraintKind

SCHEMA = {"type": "object", "properties": {"b": {}, "a": {"type": "string"}}, "additionalProperties": False}


def read_answer(wanted, grammar, regex):
    return response_format.read_answer(SamplingFields(response_format=wanted, grammar=grammar, regex=regex))


def test_text_is_free():
    assert read_answer(None, None, None) is None
    assert read_answer(ResponseFormat("text"), None, None) is None


def test_json():
    answer = read_answer(ResponseFormat("json_object"), None, None)
    assert answer == Constraint(ConstraintKind.JSON_SCHEMA, '{"type":"object"}')
    assert answer.param == "response_format"


@pytest.mark.parametrize("strict", [None, False, True])
def test_a_schema_keeps_its_order_and_is_followed_strict_or_not(strict):
    answer = read_answer(ResponseFormat("json_schema", JsonSchemaFormat("x", SCHEMA, strict)), None, None)
    assert answer.kind is ConstraintKind.JSON_SCHEMA
    assert json.dumps(json.loads(answer.source)) == json.dumps(SCHEMA)
    assert answer.param == "response_format.json_schema.schema"


def test_a_schema_that_is_not_there_is_any_json():
    assert read_answer(ResponseFormat("json_schema", JsonSchemaFormat("x")), None, None).source == "{}"


def test_grammar_and_regex():
    text = ResponseFormat("text")
    grammar, regex = read_answer(text, "start: /a/", None), read_answer(None, None, "a|b")
    assert (grammar, grammar.param) == (Constraint(ConstraintKind.LARK, "start: /a/"), "grammar")
    assert (regex, regex.param) == (Constraint(ConstraintKind.REGEX, "a|b"), "regex")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ((ResponseFormat("xml"), None, None), "response_format.type"),
        ((ResponseFormat("json_schema"), None, None), "response_format.json_schema"),
        ((ResponseFormat("json_schema", JsonSchemaFormat("a b")), None, None), "response_format.json_schema.name"),
        ((ResponseFormat("json_object"), "start: /a/", None), "grammar"),
        ((ResponseFormat("json_object"), None, "a"), "regex"),
        ((None, "start: /a/", "a"), "regex"),
    ],
)
def test_refusals_name_the_field(fields, param):
    with pytest.raises(InvalidRequest) as caught:
        read_answer(*fields)
    assert caught.value.param == param
