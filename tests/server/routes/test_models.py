"""The one model."""

from __future__ import annotations

from datetime import datetime

import pytest

import kvtape


def test_the_list_has_exactly_one_entry(http):
    body = http.get("/v1/models").json()
    (model,) = body["data"]
    assert body["object"] == "list"
    assert body["has_more"] is False
    assert body["first_id"] == body["last_id"] == model["id"]
    assert set(model) == {
        "id", "object", "created", "created_at", "owned_by", "type", "display_name", "max_model_len",
        "max_input_tokens", "max_tokens", "lifecycle", "capabilities", "deprecated_at", "retires_at", "line",
    }  # fmt: skip
    assert (model["max_model_len"], model["max_input_tokens"], model["max_tokens"]) == (2048, 2047, 2047)
    assert model["lifecycle"] == "active"
    assert datetime.fromisoformat(model["created_at"]).timestamp() == model["created"]
    assert model["capabilities"] is model["deprecated_at"] is model["retires_at"] is model["line"] is None


def test_the_server_describes_itself(http, tiny_engine):
    server = http.get("/v1/models").json()["server"]
    assert (server["version"], server["licensed"], server["accelerators"]) == (kvtape.__version__, True, [])
    assert server["build"]
    model = server["model"]
    assert model["id"] == tiny_engine.model.name
    assert (model["layers"], model["trained_context"], model["kv_cache_type"]) == (2, 2048, "f16")
    assert all(type(model[name]) is int for name in set(model) - {"id", "kv_cache_type"})
    scheduler = server["scheduler"]
    assert (scheduler["context"], scheduler["max_sessions"]) == (2048, 256)
    assert all(type(value) is int and value > 0 for value in scheduler.values())


def test_a_model_is_found_by_its_name_in_any_case(http):
    model = http.get("/v1/models").json()["data"][0]
    assert http.get(f"/v1/models/{model['id'].upper()}").json() == model


@pytest.mark.parametrize("name", ["other", "owner/other", "owner%2Fother"])
def test_another_name_is_not_found(http, name):
    response = http.get(f"/v1/models/{name}")
    assert response.status_code == 404
    assert response.json()["error"]["type"] == "not_found_error"


def test_names_may_hold_slashes(http, app, monkeypatch):
    class Named:
        name = "hf:Owner/repo/file.gguf"

    monkeypatch.setattr(type(app.state.runtime.engine), "model", Named())
    for path in ("hf:owner/repo/file.gguf", "hf%3Aowner%2Frepo%2Ffile.gguf"):
        assert http.get(f"/v1/models/{path}").json()["id"] == Named.name
