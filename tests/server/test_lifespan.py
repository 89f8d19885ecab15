"""From loading to closing."""

from __future__ import annotations

import threading

import httpx
import pytest

from kvtape.engine import AsyncEngine
from kvtape.errors import ModelError
from kvtape.server import create_app
from kvtape.server.lifespan import Phase
from tests.serving import eventually, running


def test_the_server_answers_while_the_engine_loads(make_tiny_model):
    may_load, made = threading.Event(), []

    def load():
        may_load.wait()
        made.append(AsyncEngine(make_tiny_model(n_ctx=2048), kv_memory="16M", n_threads=1))
        return made[0]

    app = create_app(load, model_name="Owner/Tiny")
    with running(app) as url:
        response = httpx.get(f"{url}/health")
        assert (response.status_code, response.json()["status"]) == (503, "unavailable")
        assert httpx.get(f"{url}/v1/health").status_code == 503
        assert httpx.get(f"{url}/v1/health").content == b""
        refused = httpx.post(f"{url}/v1/sessions/init", json={"type": "ohlcv"})
        assert (refused.status_code, refused.json()["error"]["type"]) == (503, "unavailable_error")
        listed = httpx.get(f"{url}/v1/models")
        (model,) = listed.json()["data"]
        assert (listed.status_code, model["id"], model["max_model_len"]) == (200, "Owner/Tiny", 0)
        assert set(listed.json()["server"]) == {"version", "build", "licensed", "accelerators"}
        assert httpx.get(f"{url}/v1/models/owner%2Ftiny").json() == model
        assert httpx.get(f"{url}/metrics").status_code == 200
        may_load.set()
        eventually(lambda: httpx.get(f"{url}/v1/health").status_code == 200)
        assert httpx.get(f"{url}/health").json()["generated_tokens"] == 1  # warmed up
    with pytest.raises(Exception, match="shut down"):  # it was ours to close
        made[0].open().generate()


def test_a_failed_load_leaves_the_server_unready():
    def load():
        raise ModelError("not a model")

    app = create_app(load)
    with running(app) as url:
        eventually(lambda: app.state.runtime.phase is Phase.FAILED)
        assert httpx.get(f"{url}/health").status_code == 503
        assert "failed" in httpx.get(f"{url}/v1/models").json()["error"]["message"]


def test_a_given_engine_stays_open_and_its_sessions_go(tiny_engine):
    n_before = tiny_engine.stats().n_sequences
    with running(create_app(tiny_engine)) as url:
        httpx.post(f"{url}/v1/sessions/init", json={"type": "ohlcv"})
        assert tiny_engine.stats().n_sequences == n_before + 1
    assert tiny_engine.stats().n_sequences == n_before
    tiny_engine.open().close()


def test_draining_refuses_new_work_and_ends_event_streams(tiny_engine):
    app = create_app(tiny_engine)
    with running(app) as url, httpx.Client(base_url=url, timeout=60) as http:
        session_id = http.post("/v1/sessions/init", json={"type": "ohlcv"}).json()["id"]
        with httpx.stream("GET", f"{url}/v1/sessions/{session_id}/events", timeout=60) as events:
            pieces = events.iter_bytes()
            next(pieces)
            app.state.runtime.drain()
            assert list(pieces) == []
        assert http.get("/health").status_code == 503
        assert http.get("/v1/models").status_code == 200  # of the server itself
        refused = http.get("/v1/sessions")
        assert (refused.status_code, refused.json()["error"]["type"]) == (503, "unavailable_error")
