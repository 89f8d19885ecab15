"""Errors of a server and of the way to it, as exceptions."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from kvtape.errors import Conflict, ContextOverflow, EngineFailed, InvalidRequest, KvtapeError, NotFound, Overloaded

__all__ = ["Disconnected", "StatusError", "Unacknowledged", "error_in_stream", "error_of", "error_of_status"]

# What an error that comes within a stream, after the status 200, would have had as its status.
_STATUS_OF_TYPE = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "permission_error": 403,
    "not_found_error": 404,
    "timeout_error": 408,
    "conflict_error": 409,
    "request_too_large": 413,
    "unavailable_error": 503,
    "overloaded_error": 529,
}
_KINDS: dict[int, type[KvtapeError]] = {404: NotFound, 409: Conflict}
_OVERLOADED = (429, 503, 529)
_TOO_LONG = re.compile(r"prompt is too long: (\d+) tokens > (\d+) maximum")  # how the messages routes put it


class StatusError(KvtapeError):
    """The server refused for a reason that has no exception of its own: 401, 413, 500 and the like."""

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status


class Disconnected(EngineFailed):
    """The server cannot be reached, or the connection to it broke."""


class Unacknowledged(EngineFailed):
    """A push may or may not have reached the session: its answer never came. It is never sent again unasked.

    Attributes:
        data: what was pushed.
    """

    def __init__(self, message: str, *, data: Any) -> None:
        super().__init__(message)
        self.data = data


def error_of(status: int, content: bytes, retry_after: str | None = None) -> KvtapeError:
    """Return the exception that an error body, of any dialect, stands for."""
    try:
        error = msgspec.json.decode(content)["error"]
        message, code, param = str(error["message"]), error.get("code"), error.get("param")
    except (msgspec.DecodeError, KeyError, TypeError, AttributeError):
        message, code, param = content.decode("utf-8", "replace")[:200] or f"HTTP status {status}", None, None
    return error_of_status(status, message, code=code, param=param, retry_after=retry_after)


def error_of_status(
    status: int, message: str, *, code: str | None = None, param: str | None = None, retry_after: str | None = None
) -> KvtapeError:
    """Return the exception that a status stands for."""
    too_long = _TOO_LONG.search(message)
    if code == "context_length_exceeded" or too_long:
        n_tokens, limit = (int(too_long[1]), int(too_long[2]) + 1) if too_long else (None, None)
        return ContextOverflow(message, param=param, n_tokens=n_tokens, limit=limit)
    if status == 400:
        return InvalidRequest(message, param=param)
    if status in _OVERLOADED:
        return Overloaded(message, retry_after=_seconds(retry_after))
    if status in _KINDS:
        return _KINDS[status](message)
    return StatusError(message, status=status)


def error_in_stream(content: bytes) -> KvtapeError:
    """Return the exception that an error frame of a stream stands for."""
    try:
        kind = msgspec.json.decode(content)["error"]["type"]
    except (msgspec.DecodeError, KeyError, TypeError):
        kind = None
    return error_of(_STATUS_OF_TYPE.get(kind, 500), content)


def _seconds(retry_after: str | None) -> float | None:
    try:
        return None if retry_after is None else float(retry_after)
    except ValueError:  # a date; nobody here sends one
        return None
