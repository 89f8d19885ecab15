"""Readiness and counters over HTTP."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from kvtape.protocols.layerscale.models import Health
from tests.serving import CANDLES, eventually


def test_health_carries_every_counter(http):
    for path in ("/health", "/healthz"):
        response = http.get(path)
        assert response.status_code == 200
        body = response.json()
        assert list(body) == list(Health.__struct_fields__)
        assert body.pop("status") == "ok"
        assert all(type(value) is int for value in body.values())
        assert response.headers["x-request-id"]


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
    samples = read(response.text)
    health = http.get("/health").json()
    assert samples["kvtape_ready", ""] == 1
    assert samples["kvtape_engine_steps_total", ""] == health["steps"]
    assert samples["kvtape_generation_tokens_total", ""] == health["generated_tokens"]
    assert samples["kvtape_http_requests_total", "ok"] == health["requests_ok"]
    blocks = samples["kvtape_kv_cache_blocks", "used"] + samples["kvtape_kv_cache_blocks", "free"]
    assert blocks == health["kv_pages_total"]
    assert samples["kvtape_kv_cache_usage_ratio", ""] == samples["kvtape_kv_cache_blocks", "used"] / blocks


def read(text):
    """Return the samples by name and the value of their first label."""
    families = text_string_to_metric_families(text)
    samples = [sample for family in families for sample in family.samples]
    return {(sample.name, next(iter(sample.labels.values()), "")): sample.value for sample in samples}


def test_what_sessions_do_is_timed_and_counted(http):
    before = read(http.get("/metrics").text)
    made = http.post("/v1/sessions/init", json={"type": "ohlcv", "flash": [{"query": "up?", "max_tokens": 1}]}).json()
    session = f"/v1/sessions/{made['id']}"
    http.post(f"{session}/stream/push", json={"data": CANDLES})
    eventually(lambda: http.get(f"{session}/flash").json()["data"][0]["fresh"])
    assert http.post(f"{session}/generate", json={"prompt": "up?"}).json()["flash"] is True
    http.post(f"{session}/generate", json={"prompt": "down?", "max_tokens": 1})
    http.post(f"{session}/stream/push", json={"data": CANDLES * 4000})  # more than the queue holds
    http.delete(session)
    after = read(http.get("/metrics").text)
    grown = {key: value - before[key] for key, value in after.items() if value != before[key]}
    assert grown["kvtape_session_question_seconds_count", "flash"] == 1
    assert grown["kvtape_session_question_seconds_count", "model"] == 1
    assert grown["kvtape_session_flash_evaluation_seconds_count", ""] >= 1
    dropped = grown["kvtape_session_entries_dropped_total", "drop_newest"]
    assert dropped > 0
    assert grown["kvtape_session_entries_accepted_total", ""] == len(CANDLES) * 4001 - dropped
