"""The OpenAI error envelope, which every route but the Anthropic ones answers with.

Status and type of each error follow section 4.2 of the wire specification.
"""

from __future__ import annotations

import msgspec

from kvtape.errors import (
    Conflict,
    ContextOverflow,
    EngineFailed,
    InvalidRequest,
    KvtapeError,
    NotFound,
    Overloaded,
)
from kvtape.protocols.sse import encode_event

__all__ = ["ApiError", "ErrorBody", "ErrorReply", "encode_error_event"]


_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    409: "conflict_error",
    413: "request_too_large",
    503: "unavailable_error",
}
_STATUSES: tuple[tuple[type[KvtapeError], int], ...] = (
    (InvalidRequest, 400),
    (NotFound, 404),
    (Conflict, 409),
    (Overloaded, 503),
    (EngineFailed, 503),
)


class ErrorBody(msgspec.Struct, omit_defaults=True):
    """What stands under `error`."""

    message: str
    type: str
    code: str | None = None
    param: str | None = None


class ErrorReply(msgspec.Struct):
    """The body of an error."""

    error: ErrorBody


class ApiError(msgspec.Struct, frozen=True):
    """An error as it goes over the wire: an HTTP status and the fields of the body."""

    status: int
    message: str
    type: str
    code: str | None = None
    param: str | None = None
    retry_after: float | None = None

    @classmethod
    def of_status(cls, status: int, message: str) -> ApiError:
        """Make the error of a bare HTTP status."""
        fallback = "invalid_request_error" if status < 500 else "server_error"
        return cls(status, message, _TYPES.get(status, fallback))

    @classmethod
    def of(cls, error: BaseException) -> ApiError:
        """Map an exception. The text of one that kvtape did not raise on purpose stays inside the server."""
        if not isinstance(error, KvtapeError):
            return cls.of_status(500, "internal error; the server's log has the details")
        status = next((status for kind, status in _STATUSES if isinstance(error, kind)), 500)
        api_error = cls.of_status(status, str(error))
        if isinstance(error, ContextOverflow):
            api_error = msgspec.structs.replace(api_error, code="context_length_exceeded", param="prompt")
        if isinstance(error, InvalidRequest) and error.param:
            api_error = msgspec.structs.replace(api_error, param=error.param)
        if isinstance(error, Overloaded):
            api_error = msgspec.structs.replace(api_error, retry_after=error.retry_after)
        return api_error

    def body(self) -> bytes:
        """Encode the response body."""
        return msgspec.json.encode(ErrorReply(ErrorBody(self.message, self.type, self.code, self.param)))


def encode_error_event(error: BaseException) -> bytes:
    """Frame an error that happens after the stream's 200 has gone out."""
    return encode_event(ApiError.of(error).body())
