"""The server's counters, as `/health` shows them and as Prometheus text."""

from __future__ import annotations

import time

import msgspec

from kvtape.protocols.layerscale.models import Health
from kvtape.server.lifespan import Phase, Runtime

__all__ = ["read_health", "render_metrics"]

_GAUGES = {"uptime_ms", "queued", "running", "connections", "kv_pages_total", "kv_pages_free", "sessions"}


def read_health(runtime: Runtime) -> Health:
    """Collect all counters; those of a missing engine are zero."""
    requests = runtime.requests
    health = Health(
        status="ok" if runtime.phase is Phase.READY else "unavailable",
        uptime_ms=int((time.time() - runtime.started) * 1000),
        connections=requests.n_open,
        requests_started=requests.n_started,
        requests_ok=requests.n_ok,
        requests_failed=requests.n_failed,
        requests_cancelled=requests.n_cancelled,
    )
    if not runtime.loaded:
        return health
    stats, totals = runtime.engine.stats(), runtime.sessions.totals
    return msgspec.structs.replace(
        health,
        queued=stats.queued,
        running=stats.running,
        steps=stats.steps,
        preemptions=stats.preemptions,
        kv_pages_total=stats.kv_blocks_total,
        kv_pages_free=stats.kv_blocks_free,
        prompt_tokens=stats.prompt_tokens,
        generated_tokens=stats.generated_tokens,
        spec_decode_draft_tokens=stats.drafted_tokens,
        spec_decode_accepted_tokens=stats.accepted_tokens,
        prefix_cached_tokens=max(stats.prefix_cached_tokens - totals.cached_tokens, 0),
        sessions=len(runtime.sessions),
        session_turns=totals.turns,
        session_cached_tokens=totals.cached_tokens,
        session_ingested_tokens=totals.ingested_tokens,
        session_flash_hits=totals.flash_hits,
    )


def render_metrics(health: Health) -> str:
    """Write the counters in Prometheus's text format."""
    lines = ["# TYPE kvtape_ready gauge", f"kvtape_ready {int(health.status == 'ok')}"]
    for field in msgspec.structs.fields(health):
        value = getattr(health, field.name)
        if not isinstance(value, int):
            continue
        gauge = field.name in _GAUGES
        name = f"kvtape_{field.name}" if gauge else f"kvtape_{field.name}_total"
        lines += [f"# TYPE {name} {'gauge' if gauge else 'counter'}", f"{name} {value}"]
    return "\n".join(lines) + "\n"
