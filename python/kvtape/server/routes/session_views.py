"""Sessions as the wire shows them: one superset object for both generations of clients."""

from __future__ import annotations

import msgspec
from msgspec import UNSET

from kvtape.errors import InvalidRequest
from kvtape.protocols.layerscale import models
from kvtape.server.routes.flash_views import finite
from kvtape.session.context import PushAck
from kvtape.session.session import Session

__all__ = ["push_result", "session_object", "slot_list", "stats", "stream_status"]


def session_object(session: Session) -> models.SessionObject:
    """Describe a session, without its text."""
    context = session.context
    created, last_used = int(session.created), int(session.last_used)
    n_tokens, kv_tokens, data_end = session.n_tokens, session.kv_tokens, context.sequence.n_tokens
    hole = context.sequence.hole  # positions that have left the window
    ready = session.ready.current
    if ready is not None and ready.version != session.version:
        ready = None
    return models.SessionObject(
        id=session.id,
        created=created,
        last_used=last_used,
        tokens=n_tokens,
        kv_tokens=kv_tokens,
        data_end=data_end,
        data_version=session.version,
        pending=context.n_pending,
        turns=session.turns,
        evicted=context.n_evicted,
        busy=session.busy,
        pre_decode=session.spec.pre_decode,
        ready=ready is not None,
        frozen_end=context.prefix_end or UNSET,
        window=context.window or UNSET,
        ready_token=UNSET if ready is None else ready.token_id,
        ready_gap=UNSET if ready is None else finite(ready.gap),
        session_id=session.id,
        type=session.spec.type,
        n_tokens=n_tokens,
        context=context.n_ctx,
        context_size=context.n_ctx,
        window_size=context.window or 0,
        pos_min=0 if hole[0] else hole[1],
        pos_max=max(n_tokens - 1, 0),
        pos_next=n_tokens,
        prefix_end=context.prefix_end,
        data_region=models.DataRegion(context.prefix_end, data_end, context.window or 0),
        data_count=context.n_rows,
        pending_prefill=max(n_tokens - 1 - kv_tokens, 0),
        cache_usage=max(kv_tokens - (hole[1] - hole[0]), 0) / context.n_ctx,
        created_at=created,
        last_used_at=last_used,
        in_use=session.busy,
        last_inject_us=context.counters.last_process_ns // 1000,
        flash_queries=len(session.board.queries),
        tokens_per_row=context.tape.tokens_per_row(),
    )


def slot_list(session: Session) -> models.SlotList:
    """Describe the parts of a session's context: what it opened with, what came later, the last question and answer."""
    context = session.context
    data_end, total = context.sequence.n_tokens, session.n_tokens
    ends = {"prompt": context.n_prompt, "data": data_end, "tail": total}
    slots, start = [], 0
    for name, end in ends.items():
        slots.append(models.Slot(name, start, end, end - start))
        start = end
    region = models.DataRegion(context.prefix_end, data_end, context.window or 0)
    return models.SlotList(slots, context.prefix_end, region, total, total)


def push_result(session: Session, ack: PushAck) -> models.PushResult:
    """Describe an acknowledged push."""
    return models.PushResult(
        pushed=ack.n_pushed,
        dropped=ack.n_dropped,
        queue_size=len(session.context.intake),
        queue_capacity=session.context.intake.capacity,
        total_enqueued=ack.total_enqueued,
        total_dropped=ack.total_dropped,
        pending=ack.n_pending,
        pending_bytes=ack.pending_bytes,
        total_pushed=ack.total_enqueued,
        data_version=ack.version,
    )


def stream_status(session: Session) -> models.StreamStatus:
    """Describe the ingest of a session."""
    context = session.context
    counters = context.counters
    process_us = counters.process_ns // 1000
    return models.StreamStatus(
        type=session.spec.type,
        streaming=models.StreamInfo(
            initialized=True,
            running=not context.stopped,
            error=context.stopped,
            queue_size=len(context.intake),
            queue_capacity=context.intake.capacity,
            window_size=context.window or 0,
            process_interval_us=0,  # rows are taken up as they come
        ),
        statistics=models.StreamStatistics(
            total_enqueued=counters.total_enqueued,
            total_dropped=counters.total_dropped,
            batches_processed=counters.n_batches,
            items_processed=counters.n_processed,
            total_process_time_us=process_us,
            avg_process_time_us=process_us / counters.n_batches if counters.n_batches else 0.0,
        ),
        data=models.StreamData(
            initialized=context.tape.n_rows > 0,
            data_count=context.n_rows,
            total_data_tokens=context.tape.n_row_tokens,
            pos_next=context.sequence.n_tokens,
            tokens_per_row=context.tape.tokens_per_row(),
        ),
    )


def stats(session: Session) -> models.Stats:
    """Describe the rows of a session."""
    if session.context.stats is None:
        raise InvalidRequest("the session has no typed data, so there are no statistics")
    figures: models.Stats = msgspec.convert(session.context.stats.summary(), models.Stats)
    return figures
