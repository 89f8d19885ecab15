"""Counters, and the metrics that mirror them."""

from __future__ import annotations

import msgspec
import pytest

from kvtape.protocols.layerscale.models import Health
from kvtape.server import metrics
from kvtape.server.lifespan import Runtime
from kvtape.server.metrics import read_health, read_metrics
from kvtape.server.prometheus import render
from kvtape.session.session import SessionCounters

# What no metric has by its own name: told otherwise, or never anything but zero here.
_OTHERWISE = {
    "status", "uptime_ms", "kv_pages_total", "kv_pages_free", "requests_started", "requests_ok", "requests_failed",
    "requests_cancelled", "session_call_turns_exact", "session_call_turns_diverged",
}  # fmt: skip
_NEVER = {
    "graph_captures", "prefix_window_miss_tokens", "session_snapshot_evictions", "tool_calls_recovered",
    "tool_calls_jump_forward", "tool_calls_forced_tokens",
}  # fmt: skip


@pytest.fixture
def runtime(tiny_engine):
    return Runtime(tiny_engine, max_sessions=4, idle_seconds=60)


def test_each_health_counter_has_a_metric():
    named = [field for field, *_ in (*metrics._GAUGES, *metrics._COUNTERS)]
    assert len(named) == len(set(named))
    assert set(named) | _OTHERWISE | _NEVER == set(Health.__struct_fields__)


def test_each_counter_of_sessions_is_shown(runtime):
    totals = runtime.sessions.totals
    names = [name for name, kind in SessionCounters.__annotations__.items() if kind == "int"]
    for number, name in enumerate(names, start=1):
        setattr(totals, name, number)
    health = msgspec.to_builtins(read_health(runtime))
    shown = {name: health.get(name, health.get(f"session_{name}")) for name in names}
    assert shown == {name: number for number, name in enumerate(names, start=1)}


def test_names_follow_the_conventions(runtime):
    families = read_metrics(runtime)
    names = [family.name for family in families]
    assert len(names) == len(set(names))
    for family in families:
        assert family.name.startswith("kvtape_")
        assert family.name.endswith("_total") == (family.kind == "counter")
        assert family.help
        assert not family.name.endswith(("_ms", "_us", "_ns", "_kb", "_mb", "_percent"))  # base units


def test_a_server_without_an_engine_has_metrics_too():
    runtime = Runtime(lambda: None, max_sessions=4, idle_seconds=60)
    text = render(read_metrics(runtime))
    assert "\nkvtape_ready 0\n" in text
    assert "kv_cache" not in text
