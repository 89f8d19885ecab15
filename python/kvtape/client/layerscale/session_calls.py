"""Calls about sessions and their data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Unpack
from urllib.parse import quote

from kvtape.client.call import Call
from kvtape.client.layerscale.options import SessionOptions
from kvtape.protocols.layerscale import models

__all__ = ["Data", "Row", "StreamType"]

Row = models.SessionRow | Mapping[str, Any]
Data = str | Sequence[str | Row]
StreamType = Literal["ohlcv", "iot", "spatial", "event", "vitals"]


def path_of(session_id: str, rest: str = "") -> str:
    """Return the path of a session, or of something of it."""
    return f"/v1/sessions/{quote(session_id, safe='')}{rest}"


# -- a session and its context -----------------------------------------------------------------------------------------


def create(*, type: StreamType = "ohlcv", **options: Unpack[SessionOptions]) -> Call[models.SessionObject]:
    """Open a session with typed rows.

    Raises:
        Conflict: there is a session with that id, or as many as there may be.
    """
    return Call("POST", "/v1/sessions/init", models.SessionObject, {"type": type, **options})


def create_text(**options: Unpack[SessionOptions]) -> Call[models.SessionObject]:
    """Open a session without typed rows.

    Raises:
        Conflict: there is a session with that id, or as many as there may be.
    """
    return Call("POST", "/v1/sessions", models.SessionObject, dict(options))


def list_sessions() -> Call[models.SessionList]:
    """List the live sessions."""
    return Call("GET", "/v1/sessions", models.SessionList)


def get(session_id: str) -> Call[models.SessionObject]:
    """Show a session."""
    return Call("GET", path_of(session_id), models.SessionObject)


def state(session_id: str) -> Call[models.SessionObject]:
    """Show a session, the text of its context included."""
    return Call("GET", path_of(session_id, "/state"), models.SessionObject)


def delete(session_id: str) -> Call[models.SessionDeleted]:
    """Delete a session; whoever reads its events sees their end.

    Raises:
        Conflict: a question is being answered.
    """
    return Call("DELETE", path_of(session_id), models.SessionDeleted)


def append(session_id: str, text: str) -> Call[models.AppendResult]:
    """Append raw text to the context."""
    return Call("POST", path_of(session_id, "/append"), models.AppendResult, {"text": text})


def mark_prefix(session_id: str) -> Call[models.MarkPrefixResult]:
    """Freeze the context as it is: a window never takes any of it away."""
    return Call("POST", path_of(session_id, "/mark_prefix"), models.MarkPrefixResult, {})


def slots(session_id: str) -> Call[models.SlotList]:
    """Show the parts of the context."""
    return Call("GET", path_of(session_id, "/slots"), models.SlotList)


# -- data --------------------------------------------------------------------------------------------------------------


def push(session_id: str, data: Data) -> Call[models.PushResult]:
    """Queue rows of the session's type, or text."""
    has_text = isinstance(data, str) or any(isinstance(item, str) for item in data)
    path = path_of(session_id, "/push" if has_text else "/stream/push")
    return Call("POST", path, models.PushResult, {"data": data if isinstance(data, str) else list(data)})


def is_resident(status: models.StreamStatus, ack: models.PushResult) -> bool:
    """Whether what a push has queued is part of the context."""
    return status.statistics.items_processed >= ack.total_enqueued


def status(session_id: str) -> Call[models.StreamStatus]:
    """Show how far the ingest is."""
    return Call("GET", path_of(session_id, "/stream/status"), models.StreamStatus)


def stats(session_id: str) -> Call[models.Stats]:
    """Return statistics over the rows, those of the session's type."""
    return Call("GET", path_of(session_id, "/stats"), models.Stats)  # type: ignore[arg-type]  # a union is no type[T]
