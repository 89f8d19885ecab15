"""The messages of a session's WebSocket, section 11.6 of the wire specification."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import msgspec

from kvtape.errors import InvalidRequest
from kvtape.protocols.layerscale import models
from kvtape.protocols.openai.errors import ApiError

__all__ = [
    "CloseMessage",
    "PingMessage",
    "PushMessage",
    "decode_message",
    "encode_error",
    "encode_event",
    "encode_pong",
]

RowT = TypeVar("RowT")


class PushMessage(msgspec.Struct, Generic[RowT], tag="push"):
    """Data for the session: text, or rows and texts in any order."""

    data: list[RowT] | str


class PingMessage(msgspec.Struct, tag="ping"):
    """A question whether the server is there."""


class CloseMessage(msgspec.Struct, tag="close"):
    """The client is done."""


class Envelope(msgspec.Struct, omit_defaults=True):
    """What the server sends; `id` is the number of an event, to go on behind it."""

    type: str
    data: msgspec.Struct | dict[str, Any]
    id: int | None = None


def decode_message(text: str, row_type: Any = Any) -> PushMessage[Any] | PingMessage | CloseMessage:
    """Decode a client's message. Rows come as `row_type`, or as plain objects where one does not fit it.

    Raises:
        InvalidRequest: no JSON object, an unknown type, or no data; `param` names the field.
    """
    try:
        return msgspec.json.decode(text, type=PushMessage[row_type | str] | PingMessage | CloseMessage)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        pass  # said better below
    try:
        message = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise InvalidRequest(f"the message is not valid JSON: {error}") from None
    if not isinstance(message, dict):
        raise InvalidRequest("the message must be a JSON object")
    kind = message.get("type")
    if kind != "push":
        raise InvalidRequest(f"type must be push, ping or close, found {kind!r:.40}", param="type")
    data = message.get("data")
    if not isinstance(data, list | str):
        raise InvalidRequest("data must be text, or a list of texts and rows", param="data")
    return PushMessage(data)


def encode_event(
    event: models.Connected | models.FlashReady | models.DataUpdated | models.PushResult, number: int | None = None
) -> str:
    """Encode what happened in the session, or the answer to a push."""
    kind = "push_ack" if isinstance(event, models.PushResult) else str(event.__struct_config__.tag)
    return _encode(kind, event, number)


def encode_pong() -> str:
    """Encode the answer to a ping."""
    return _encode("pong", {})


def encode_error(error: BaseException) -> str:
    """Encode an error, after which the connection goes on; its code is the status that HTTP would give it.

    `param`, where there is one, is this server's own.
    """
    api_error = ApiError.of(error)
    param = {} if api_error.param is None else {"param": api_error.param}
    return _encode("error", {"message": api_error.message, "code": api_error.status, **param})


def _encode(kind: str, data: msgspec.Struct | dict[str, Any], number: int | None = None) -> str:
    return msgspec.json.encode(Envelope(kind, data, number)).decode()
