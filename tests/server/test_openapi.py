"""The document: valid by the official metaschema, true to the models, and served."""

from __future__ import annotations

import json

import httpx
import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from kvtape.protocols.layerscale import models
from kvtape.server import create_app
from kvtape.server.openapi import make_document
from tests.serving import ROWS, running


@pytest.fixture(scope="module")
def document():
    return make_document(create_app(lambda: None).routes)


def schema(document, name):
    return {"$ref": f"#/components/schemas/{name}", "components": document["components"]}


def test_it_is_valid(document):
    OpenAPIV31SpecValidator(document).validate()
    assert document["openapi"].startswith("3.1")


def test_the_server_answers_with_it(http, app, document):
    response = http.get("/openapi.json")
    assert response.headers["content-type"] == "application/json"
    assert response.json() == document


def test_every_answer_names_the_request(document):
    for methods in document["paths"].values():
        for operation in methods.values():
            for response in operation["responses"].values():
                assert response["headers"]["x-request-id"]


def test_errors_are_in_the_envelope_of_the_dialect(document):
    def envelope(path, status):
        content = document["paths"][path]["post"]["responses"][status]["content"]["application/json"]
        return content["schema"]["$ref"].rpartition("/")[2]

    assert envelope("/v1/chat/completions", "400") == "ErrorReply"
    assert envelope("/v1/messages", "400") == envelope("/v1/messages", "529") == "ErrorEnvelope"


def test_fields_that_are_always_there_are_required(document):
    components = document["components"]["schemas"]
    assert set(components["Health"]["required"]) == set(models.Health.__struct_fields__)
    assert "lifecycle" in components["Model"]["required"]
    assert "frozen_end" not in components["SessionObject"]["required"]
    assert "code" not in components["ErrorBody"]["required"]


def test_nothing_is_there_that_nothing_refers_to(document):
    text = json.dumps(document)
    for name in document["components"]["schemas"]:
        assert name.isalnum()
        assert f'"#/components/schemas/{name}"' in text


@pytest.mark.parametrize("kind", ROWS)
def test_rows_of_each_type_are_described(document, kind):
    push = Draft202012Validator(schema(document, "PushRequest"))
    assert push.is_valid({"data": ROWS[kind]})
    spoiled = {name: value for name, value in ROWS[kind][0].items() if name not in ("c", "val", "hdg", "cnt", "temp")}
    assert not push.is_valid({"data": [spoiled]})


def test_a_stream_is_described_by_its_events(document):
    answer = document["paths"]["/v1/messages"]["post"]["responses"]["200"]["content"]
    described = Draft202012Validator(answer["text/event-stream"]["schema"]["properties"]["data"]["contentSchema"])
    assert "MessageStart" in str(described.schema)
    chat = document["paths"]["/v1/chat/completions"]["post"]["responses"]["200"]["content"]["text/event-stream"]
    assert {"const": "[DONE]"} in chat["schema"]["properties"]["data"]["anyOf"]


def test_keys_are_asked_for_where_they_are(tiny_engine):
    with running(create_app(tiny_engine, api_keys=["secret"])) as url:
        assert httpx.get(f"{url}/openapi.json").status_code == 401
        paths = httpx.get(f"{url}/openapi.json", headers={"x-api-key": "secret"}).json()["paths"]
    assert paths["/v1/models"]["get"]["security"] == [{"bearer": []}, {"key": []}]
    assert paths["/metrics"]["get"]["security"]
    assert paths["/health"]["get"]["security"] == paths["/v1/health"]["get"]["security"] == []
