"""API keys."""

from __future__ import annotations

import httpx
import pytest

from kvtape.server import create_app
from kvtape.server.auth import ApiKeys
from tests.serving import running


@pytest.fixture(scope="module")
def locked(tiny_engine):
    with running(create_app(tiny_engine, api_keys=["LS-one", "LS-zwei-ü"])) as url:
        yield url


@pytest.mark.parametrize("path", ["/v1/models", "/metrics", "/v1/sessions", "/nothing"])
def test_routes_need_a_key(locked, path):
    response = httpx.get(locked + path)
    assert response.status_code == 401
    assert response.json()["error"]["type"] == "authentication_error"
    assert httpx.get(locked + path, headers={"x-api-key": "LS-one"}).status_code != 401


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"authorization": "Bearer LS-one"}, 200),
        ({"authorization": "bearer  LS-one"}, 200),
        ({"x-api-key": "LS-one"}, 200),
        ({"authorization": "Bearer LS-two"}, 401),
        ({"authorization": "Bearer"}, 401),
        ({"authorization": "Basic LS-one"}, 401),
        ({"authorization": "Bearer LS-two", "x-api-key": "LS-one"}, 401),
        ({"x-api-key": "LS-on"}, 401),
        ({"x-api-key": ""}, 401),
    ],
)
def test_ways_to_present_a_key(locked, headers, status):
    assert httpx.get(f"{locked}/v1/models", headers=headers).status_code == status


@pytest.mark.parametrize("path", ["/health", "/healthz", "/v1/health"])
def test_probes_need_none(locked, path):
    assert httpx.get(locked + path).status_code == 200


def test_preflight_needs_none(locked):
    headers = {"origin": "http://a", "access-control-request-method": "POST"}
    assert httpx.options(f"{locked}/v1/models", headers=headers).status_code == 200


def test_without_keys_any_key_is_accepted(http):
    assert http.get("/v1/models", headers={"authorization": "Bearer anything"}).status_code == 200


def test_keys_are_kept_as_digests():
    keys = ApiKeys(["secret"])
    assert keys
    assert not ApiKeys([])
    assert keys.accept("secret")
    assert not keys.accept("secret2")
    assert "secret" not in repr(vars(keys))
