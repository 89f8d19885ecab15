"""Readiness and counters over HTTP."""

from __future__ import annotations

from kvtape.protocols.layerscale.models import Health


def test_health_carries_every_counter(http):
    for path in ("/health", "/healthz"):
        response = http.get(path)
        assert response.status_code == 200
        body = response.json()
        assert list(body) == list(Health.__struct_fields__)
        assert body.pop("status") == "ok"
        assert all(type(value) is int for value in body.values())


def test_the_older_probe_has_an_empty_body(http):
    response = http.get("/v1/health")
    assert (response.status_code, response.content) == (200, b"")


def test_counters_follow_the_work(http, tiny_engine):
    before = http.get("/health").json()
    body = {"messages": [{"role": "user", "content": "x"}], "max_tokens": 7, "ignore_eos": True}
    usage = http.post("/v1/chat/completions", json=body).json()["usage"]
    after = http.get("/health").json()
    assert after["generated_tokens"] - before["generated_tokens"] == 7
    assert after["prompt_tokens"] - before["prompt_tokens"] == usage["prompt_tokens"]
    assert after["steps"] > before["steps"]
    assert 0 < after["kv_pages_free"] <= after["kv_pages_total"]


def test_metrics_mirror_health(http):
    response = http.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    samples = dict(line.split() for line in response.text.splitlines() if not line.startswith("#"))
    health = http.get("/health").json()
    assert samples["kvtape_ready"] == "1"
    assert samples["kvtape_steps_total"] == str(health["steps"])
    assert samples["kvtape_kv_pages_total"] == str(health["kv_pages_total"])
