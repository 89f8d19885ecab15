"""Flash queries and events as the wire shows them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TypeVar

from msgspec import UNSET, UnsetType

from kvtape.protocols.layerscale import models
from kvtape.protocols.requests import refuse_unless
from kvtape.session.events import FlashReady, SessionEvent, Subscription
from kvtape.session.flash import FlashAnswer, FlashQuery
from kvtape.session.session import Session

__all__ = [
    "event_number",
    "finite",
    "flash_list",
    "flash_registered",
    "opening",
    "session_event",
    "set_odds",
    "wants_changes_only",
]


def flash_registered(session: Session, query: FlashQuery) -> models.FlashRegistered:
    """Describe a new flash query."""
    return models.FlashRegistered(
        id=query.id,
        query=query.query,
        max_tokens=query.max_tokens,
        tokens=query.n_tokens,
        n_tokens=query.n_tokens,
        choices=_choices(query),
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
        choices=_choices(query),
    )
    return _with_answer(entry, query.answer)


def _flash_item(query: FlashQuery) -> models.FlashItem:
    item = models.FlashItem(
        id=query.id,
        query=query.query,
        max_tokens=query.max_tokens,
        n_tokens=query.n_tokens,
        has_answer=query.answer is not None,
        choices=_choices(query),
    )
    return _with_answer(item, query.answer)


_Flash = TypeVar("_Flash", models.FlashEntry, models.FlashItem)


def _with_answer(target: _Flash, answer: FlashAnswer | None) -> _Flash:
    if answer is not None:
        target.value = answer.value
        target.data_version = answer.version
        target.confidence = finite(answer.confidence)
        target.evaluated_at = answer.evaluated_at
        set_odds(target, answer)
    return target


def _choices(query: FlashQuery) -> list[str] | UnsetType:
    return UNSET if query.tree is None else list(query.tree.choices)


def set_odds(
    target: models.FlashEntry | models.FlashItem | models.FlashReady | models.Generated, found: FlashAnswer | FlashReady
) -> None:
    """Say how probable the declared choices are, if there are such."""
    if found.probabilities is not None and found.coverage is not None:
        target.probabilities = dict(found.probabilities)
        target.coverage = found.coverage


def event_number(text: str | None) -> int | None:
    """Read the number of the event that a client saw last; what is no number is none."""
    return int(text) if text and text.isascii() and text.isdecimal() and len(text) < 20 else None


def wants_changes_only(parameters: Mapping[str, str]) -> bool:
    """Read whether a reader of events leaves out answers that say what the one before them said.

    Raises:
        InvalidRequest: neither true nor false.
    """
    wanted = parameters.get("changes_only", "false")
    refuse_unless(wanted in ("true", "false"), "changes_only", f"must be true or false, found {wanted!r:.40}")
    return wanted == "true"


def opening(
    session: Session, subscription: Subscription
) -> list[tuple[models.Connected | models.FlashReady | models.DataUpdated, int | None]]:
    """Describe what a reader of events gets first, with the number to go on behind, if it breaks off there.

    That is where the session is and, unless the reader goes on where it was, the current answers. Only the last of them
    has the number: who has not seen them all begins again.
    """
    streaming = not session.context.stopped
    connected = models.Connected(session.id, session.version, len(session.board.queries), streaming=streaming)
    answered = [] if subscription.resumed else [q for q in session.board.queries.values() if q.answer is not None]
    first: list[models.Connected | models.FlashReady | models.DataUpdated]
    first = [connected, *(session_event(query.ready_event()) for query in answered)]
    return [*((event, None) for event in first[:-1]), (first[-1], subscription.after)]


def session_event(event: SessionEvent) -> models.FlashReady | models.DataUpdated:
    """Describe an event of a session."""
    if isinstance(event, FlashReady):
        ready = models.FlashReady(
            event.query_id, event.query, event.value, event.version, finite(event.confidence), event.evaluated_at
        )
        set_odds(ready, event)
        return ready
    return models.DataUpdated(
        event.version, event.n_tokens, event.n_pending, event.n_rows, event.n_tokens, event.n_dropped
    )


def finite(value: float) -> float:
    """Return the value, or a very large one of its sign: JSON has no infinity."""
    return value if math.isfinite(value) else math.copysign(1e9, value)
