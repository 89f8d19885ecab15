"""Sessions as the wire shows them: one superset object for both generations of clients."""

from __future__ import annotations

import math
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET

from kvtape.errors import InvalidRequest
from kvtape.protocols.layerscale import models
from kvtape.protocols.openai.reply import encode_usage
from kvtape.session.context import PushAck
from kvtape.session.events import FlashReady, SessionEvent, Subscription
from kvtape.session.flash import FlashAnswer, FlashQuery
from kvtape.session.session import Answer, Session

__all__ = [
    "flash_list",
    "flash_registered",
    "generated",
    "push_result",
    "session_event",
    "session_object",
    "slot_list",
    "stats",
    "stream_status",
]


def session_object(session: Session) -> models.SessionObject:
    """Describe a session, without its text."""
    context = session.context
    created, last_used = int(session.created), int(session.last_used)
    n_tokens, kv_tokens, data_end = session.n_tokens, session.kv_tokens, context.sequence.n_tokens
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
        pre_decode=False,
        ready=False,
        frozen_end=session.context.prefix_end or UNSET,
        session_id=session.id,
        type=session.spec.type,
        n_tokens=n_tokens,
        context=context.n_ctx,
        context_size=context.n_ctx,
        window_size=context.window or 0,
        pos_min=0,
        pos_max=max(n_tokens - 1, 0),
        pos_next=n_tokens,
        prefix_end=session.context.prefix_end,
        data_region=models.DataRegion(session.context.prefix_end, data_end, session.context.window or 0),
        data_count=context.n_rows,
        pending_prefill=max(n_tokens - 1 - kv_tokens, 0),
        cache_usage=kv_tokens / context.n_ctx,
        created_at=created,
        last_used_at=last_used,
        in_use=session.busy,
        last_inject_us=context.counters.last_process_ns // 1000,
        flash_queries=len(session.board.queries),
        tokens_per_row=context.tape.tokens_per_row(),
    )


def row_model(session: Session) -> Any:
    """Return what the rows of a session are decoded as; anything where it has none."""
    row_type = session.context.row_type
    return Any if row_type is None else row_type.model


def slot_list(session: Session) -> models.SlotList:
    """Describe the parts of a session's context: what it opened with, what came later, the last question and answer."""
    data_end, total = session.context.sequence.n_tokens, session.n_tokens
    ends = {"prompt": session.context.n_prompt, "data": data_end, "tail": total}
    slots, start = [], 0
    for name, end in ends.items():
        slots.append(models.Slot(name, start, end, end - start))
        start = end
    region = models.DataRegion(session.context.prefix_end, data_end, session.context.window or 0)
    return models.SlotList(slots, session.context.prefix_end, region, total, total)


def push_result(session: Session, ack: PushAck) -> models.PushResult:
    """Describe an acknowledged push."""
    return models.PushResult(
        pushed=ack.n_pushed,
        dropped=ack.n_dropped,
        queue_size=ack.n_pending,
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
            queue_size=context.n_pending,
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


def generated(generation_id: str, session: Session, answer: Answer, text: str, n_tokens: int) -> models.Generated:
    """Describe a finished answer."""
    result = models.Generated(
        text=text,
        finish_reason="stop",
        n_tokens=n_tokens,
        total_tokens=session.n_tokens,
        pos_max=max(session.n_tokens - 1, 0),
        id=generation_id,
        session_id=session.id,
        data_version=answer.version,
        usage=models.GenerateUsage(0, 0),
    )
    if answer.cached is not None and answer.cached.answer is not None:
        result.text = answer.cached.answer.value
        result.finish_reason = str(answer.cached.answer.finish_reason)
        result.flash = True
        result.flash_id = answer.cached.id
        result.confidence = _finite(answer.cached.answer.confidence)
    elif answer.turn is not None and (last := answer.turn.finished) is not None and last.usage is not None:
        result.finish_reason = str(last.finish_reason)
        usage = encode_usage(last.usage)
        result.usage = models.GenerateUsage(
            usage.prompt_tokens, usage.completion_tokens, usage.total_tokens, usage.prompt_tokens_details
        )
    return result


def flash_registered(session: Session, query: FlashQuery) -> models.FlashRegistered:
    """Describe a new flash query."""
    return models.FlashRegistered(
        id=query.id,
        query=query.query,
        max_tokens=query.max_tokens,
        tokens=query.n_tokens,
        n_tokens=query.n_tokens,
        total_flash_queries=len(session.board.queries),
    )


def flash_list(session: Session) -> models.FlashList:
    """Describe all flash queries of a session, once for each generation of clients."""
    queries = list(session.board.queries.values())
    return models.FlashList(
        data=[_flash_entry(query, session.version) for query in queries],
        data_version=session.version,
        flash_queries=[_flash_item(query) for query in queries],
        count=len(queries),
        current_data_version=session.version,
    )


def _flash_entry(query: FlashQuery, version: int) -> models.FlashEntry:
    entry = models.FlashEntry(
        id=query.id,
        query=query.query,
        max_tokens=query.max_tokens,
        tokens=query.n_tokens,
        fresh=query.answer is not None and query.answer.version == version,
    )
    return _with_answer(entry, query.answer)


def _flash_item(query: FlashQuery) -> models.FlashItem:
    item = models.FlashItem(
        id=query.id,
        query=query.query,
        max_tokens=query.max_tokens,
        n_tokens=query.n_tokens,
        has_answer=query.answer is not None,
    )
    return _with_answer(item, query.answer)


_Flash = TypeVar("_Flash", models.FlashEntry, models.FlashItem)


def _with_answer(target: _Flash, answer: FlashAnswer | None) -> _Flash:
    if answer is not None:
        target.value = answer.value
        target.data_version = answer.version
        target.confidence = _finite(answer.confidence)
        target.evaluated_at = answer.evaluated_at
    return target


def event_number(text: str | None) -> int | None:
    """Read the number of the event that a client saw last; what is no number is none."""
    return int(text) if text and text.isascii() and text.isdecimal() and len(text) < 20 else None


def opening(
    session: Session, subscription: Subscription
) -> list[tuple[models.Connected | models.FlashReady | models.DataUpdated, int | None]]:
    """Describe what a reader of events gets first, with the number to go on behind, if it breaks off there.

    That is where the session is and, unless the reader goes on where it was, the current answers.
    """
    streaming = not session.context.stopped
    connected = models.Connected(session.id, session.version, len(session.board.queries), streaming=streaming)
    answered = [] if subscription.resumed else [q for q in session.board.queries.values() if q.answer is not None]
    return [(connected, subscription.after), *((session_event(query.ready_event()), None) for query in answered)]


def session_event(event: SessionEvent) -> models.FlashReady | models.DataUpdated:
    """Describe an event of a session."""
    if isinstance(event, FlashReady):
        return models.FlashReady(
            event.query_id, event.query, event.value, event.version, _finite(event.confidence), event.evaluated_at
        )
    return models.DataUpdated(event.version, event.n_tokens, event.n_pending, event.n_rows, event.n_tokens)


def _finite(value: float) -> float:
    return value if math.isfinite(value) else math.copysign(1e9, value)  # JSON has no infinity
