"""LayerScale: what goes into a session, and frames of what comes out; request bytes to values, values to bytes."""

from __future__ import annotations

from typing import Any

import msgspec

from kvtape.protocols.layerscale import models
from kvtape.protocols.requests import decode_request, refuse_unless
from kvtape.protocols.sse import encode_event

__all__ = ["check_data", "decode_append", "decode_push", "encode_frame", "encode_session_event"]


def decode_append(body: bytes) -> str:
    """Decode `POST …/append`.

    Raises:
        InvalidRequest: no text.
    """
    return decode_request(body, models.AppendRequest).text


def decode_push(body: bytes, row_type: Any = Any, *, may_be_empty: bool = True) -> str | list[Any]:
    """Decode `POST …/stream/push` or `POST …/push`; the rows themselves are checked by the session's schema.

    Rows come as `row_type`, in one pass over the text. Where one does not fit it, all come as plain objects, for the
    schema to name the field.

    Raises:
        InvalidRequest: `data` is neither text nor a list, or it is empty and must not be.
    """
    try:
        data = msgspec.json.decode(body.decode(), type=models.PushRequest[row_type | str]).data
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        data = decode_request(body, models.PushRequest[Any]).data
    return check_data(data, may_be_empty=may_be_empty)


def check_data(data: str | list[Any], *, may_be_empty: bool) -> str | list[Any]:
    """Refuse an empty list where it must not be: who waits for the version that it makes would wait for ever.

    Raises:
        InvalidRequest: it is one.
    """
    refuse_unless(may_be_empty or data != [], "data", "must not be an empty list")
    return data


def encode_frame(frame: models.GenerateToken | models.Generated) -> bytes:
    """Frame one piece of a streamed answer (dialect A: no event name)."""
    return encode_event(msgspec.json.encode(frame))


def encode_session_event(
    event: models.Connected | models.FlashReady | models.DataUpdated, number: int | None = None
) -> bytes:
    """Frame one event of a session (dialect B); the name is in the payload too, where some clients look for it.

    `number` is what a client sends as `Last-Event-ID` to go on behind it.
    """
    return encode_event(msgspec.json.encode(event), event=str(type(event).__struct_config__.tag), number=number)
