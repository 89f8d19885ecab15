"""The app as a whole: routing, errors, ids, CORS, mounting."""

from __future__ import annotations

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from kvtape.server import create_app
from tests.serving import running


@pytest.mark.parametrize(
    ("method", "path", "status", "kind"),
    [
        ("GET", "/nothing", 404, "not_found_error"),
        ("GET", "/v1/sessions/", 404, "not_found_error"),
        ("GET", "/v1/messages", 405, "invalid_request_error"),
        ("GET", "/v1/chat/completions", 405, "invalid_request_error"),
        ("POST", "/health", 405, "invalid_request_error"),
        ("DELETE", "/v1/sessions", 405, "invalid_request_error"),
        ("PUT", "/v1/sessions", 405, "invalid_request_error"),
        ("GET", "/v1/sessions/sess_nobody", 404, "not_found_error"),
        ("GET", "/v1/sessions/a%20b/state", 400, "invalid_request_error"),
        ("POST", "/v1/sessions/sess_nobody/stream/push", 404, "not_found_error"),
    ],
)
def test_errors_have_the_standard_body(http, method, path, status, kind):
    response = http.request(method, path)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/json"
    assert response.json()["error"]["type"] == kind
    assert response.json()["error"]["message"]


def test_every_response_has_an_id(http):
    for path in ("/health", "/nothing", "/v1/models", "/v1/sessions/x y"):
        headers = http.get(path).headers
        assert headers["x-request-id"].startswith("req_")
        assert headers["request-id"] == headers["x-request-id"]
    preflight = {"origin": "http://a", "access-control-request-method": "POST"}
    assert http.options("/v1/models", headers=preflight).headers["x-request-id"].startswith("req_")
    assert http.get("/health", headers={"x-request-id": "mine-1"}).headers["x-request-id"] == "mine-1"


def test_preflight_is_answered(http):
    response = http.options(
        "/v1/chat/completions",
        headers={
            "origin": "http://example.org",
            "access-control-request-method": "POST",
            "access-control-request-headers": "authorization,x-api-key,content-type,x-layerscale-session-id,"
            "anthropic-version,anthropic-dangerous-direct-browser-access,x-stainless-lang",
        },
    )
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == "*"


def test_errors_can_be_read_across_origins(http):
    assert http.get("/nothing", headers={"origin": "http://a"}).headers["access-control-allow-origin"] == "*"


def test_a_fault_of_ours_is_a_500_that_says_nothing(tiny_engine, monkeypatch):
    app = create_app(tiny_engine)
    monkeypatch.setattr(app.state.runtime.sessions, "live", lambda: 1 / 0)
    with running(app) as url:
        response = httpx.get(f"{url}/v1/sessions")
        monkeypatch.undo()
    assert response.status_code == 500
    assert response.json()["error"]["type"] == "server_error"
    assert "division" not in response.text


def test_the_app_can_be_mounted(tiny_engine):
    host = Starlette(routes=[Mount("/llm", create_app(tiny_engine, api_keys=["k"]))])
    with running(host) as url, httpx.Client(base_url=f"{url}/llm", timeout=60) as http:
        assert http.get("/v1/health").status_code == 200
        assert http.get("/v1/models").status_code == 401
        http.headers["x-api-key"] = "k"
        session = http.post("/v1/sessions/init", json={"type": "ohlcv"}).json()
        assert http.delete(f"/v1/sessions/{session['id']}").json()["deleted"] is True
