"""The server's counters, as `/health` shows them and as Prometheus sees them."""

from __future__ import annotations

import time
from dataclasses import fields
from typing import Any

import kvtape
from kvtape.chat.reply import broken_calls
from kvtape.protocols.layerscale.models import Health
from kvtape.server.lifespan import Phase, Runtime
from kvtape.server.prometheus import Family, counter, gauge, histogram
from kvtape.session.manager import SessionManager
from kvtape.session.session import SessionCounters

__all__ = ["read_health", "read_metrics"]

# Health counter, metric, help. Names are those that the field's other servers use, where they have the same thing.
_GAUGES = (
    ("running", "num_requests_running", "Generations at work."),
    ("queued", "num_requests_waiting", "Sequences with tokens that have no KV yet."),
    ("connections", "http_requests_in_flight", "Requests that are being answered, event streams and sockets included."),
    ("sessions", "sessions", "Live sessions."),
)
_COUNTERS = (
    ("steps", "engine_steps_total", "Passes of the engine."),
    ("preemptions", "num_preemptions_total", "Times that a sequence at work lost its KV to others."),
    ("prompt_tokens", "prompt_tokens_total", "Prompt tokens of finished generations, cached ones included."),
    ("generated_tokens", "generation_tokens_total", "Tokens generated."),
    ("prefix_cached_tokens", "prefix_cache_hits_total", "Prompt tokens outside of sessions that were not computed."),
    ("spec_decode_draft_tokens", "spec_decode_num_draft_tokens_total", "Tokens computed ahead."),
    ("spec_decode_accepted_tokens", "spec_decode_num_accepted_tokens_total", "Tokens computed ahead and then drawn."),
    ("session_turns", "session_turns_total", "Questions and turns of sessions that were answered."),
    ("session_cached_tokens", "session_cached_tokens_total", "Prompt tokens that sessions held already."),
    ("session_ingested_tokens", "session_ingested_tokens_total", "Tokens of pushed data taken into contexts."),
    ("session_warm_turns", "session_warm_turns_total", "Conversations prefilled ahead."),
    ("session_warmed_tokens", "session_warmed_tokens_total", "Tokens prefilled ahead."),
    ("session_flash_hits", "session_flash_hits_total", "Questions answered by a flash query."),
    ("session_ready_exits", "session_ready_exits_total", "Questions answered at the ready position."),
    ("tool_calls_malformed", "tool_calls_malformed_total", "Calls that the model broke."),
)


def read_health(runtime: Runtime) -> Health:
    """Collect all counters; those of a missing engine are zero."""
    requests = runtime.requests
    found: dict[str, Any] = {
        "status": "ok" if runtime.phase is Phase.READY else "unavailable",
        "uptime_ms": int((time.time() - runtime.started) * 1000),
        "connections": requests.n_open,
        "requests_started": requests.n_started,
        "requests_ok": requests.n_ok,
        "requests_failed": requests.n_failed,
        "requests_cancelled": requests.n_cancelled,
    }
    if runtime.loaded:
        stats, totals = runtime.engine.stats(), runtime.sessions.totals
        found |= {
            "queued": stats.queued,
            "running": stats.running,
            "steps": stats.steps,
            "preemptions": stats.preemptions,
            "kv_pages_total": stats.kv_blocks_total,
            "kv_pages_free": stats.kv_blocks_free,
            "prompt_tokens": stats.prompt_tokens,
            "generated_tokens": stats.generated_tokens,
            "spec_decode_draft_tokens": stats.drafted_tokens,
            "spec_decode_accepted_tokens": stats.accepted_tokens,
            "prefix_cached_tokens": max(stats.prefix_cached_tokens - totals.cached_tokens, 0),
            "tool_calls_malformed": broken_calls(runtime.engine.model),
            "sessions": len(runtime.sessions),
            **_session_counters(totals),
        }
    return Health(**found)


def _session_counters(totals: SessionCounters) -> dict[str, int]:
    """Return the counters of sessions under their names on the wire: their own, or behind `session_`."""
    counters = {item.name: getattr(totals, item.name) for item in fields(totals)}
    on_wire = Health.__struct_fields__
    return {
        name if name in on_wire else f"session_{name}": value
        for name, value in counters.items()
        if isinstance(value, int)
    }


def read_metrics(runtime: Runtime) -> list[Family]:
    """Collect the counters of `/health`, and histograms."""
    health = read_health(runtime)
    families = [
        gauge("build_info", "The version.", {("version", kvtape.__version__): 1}),
        gauge("start_time_seconds", "When the server started, in Unix seconds.", round(runtime.started, 3)),
        gauge("ready", "Whether the server takes requests.", int(health.status == "ok")),
        *(gauge(name, help, getattr(health, field)) for field, name, help in _GAUGES),
        counter(
            "http_requests_total",
            "Requests answered, by their end.",
            {("outcome", outcome): getattr(health, f"requests_{outcome}") for outcome in ("ok", "failed", "cancelled")},
        ),
        *(counter(name, help, getattr(health, field)) for field, name, help in _COUNTERS),
        counter(
            "session_call_turns_total",
            "Turns that sent results of calls, by whether their history was what the session held.",
            {("history", how): getattr(health, f"session_call_turns_{how}") for how in ("exact", "diverged")},
        ),
    ]
    if runtime.loaded:
        families += [*_of_cache(runtime), *_of_sessions(runtime.sessions)]
    return [Family(f"kvtape_{each.name}", each.kind, each.help, each.samples) for each in families]


def _of_cache(runtime: Runtime) -> list[Family]:
    stats = runtime.engine.stats()
    used = stats.kv_blocks_total - stats.kv_blocks_free
    return [
        gauge("kv_cache_usage_ratio", "Share of the KV blocks in use, 0 to 1.", used / stats.kv_blocks_total),
        gauge("kv_cache_blocks", "KV blocks.", {("state", "used"): used, ("state", "free"): stats.kv_blocks_free}),
        gauge("kv_cache_block_tokens", "Tokens in a KV block.", stats.block_size),
        gauge("kv_cache_bytes", "Memory of all KV blocks.", stats.kv_bytes),
        counter("sequences_dropped_total", "Times that an idle sequence lost its KV.", stats.sequences_dropped),
        counter("sequences_lost_total", "Times that one with a hole did, for good.", stats.sequences_lost),
    ]


def _of_sessions(sessions: SessionManager) -> list[Family]:
    rows, timings = sessions.row_totals(), sessions.totals.timings
    return [
        counter("session_entries_accepted_total", "Rows and texts accepted into queues.", rows.accepted),
        counter(
            "session_entries_dropped_total",
            "Rows and texts dropped, by what the session does when its queue is full.",
            {("policy", policy): dropped for policy, dropped in rows.dropped.items()},
        ),
        histogram(
            "session_push_to_settled_seconds", "From a push to the data version that holds it.", {None: timings.settled}
        ),
        histogram(
            "session_flash_evaluation_seconds", "All stale flash queries of a session together.", {None: timings.flash}
        ),
        histogram(
            "session_question_seconds",
            "From a question to the end of its answer, by where the answer came from.",
            {("source", source): found for source, found in timings.question.items()},
        ),
    ]
