"""The Anthropic error envelope, which `/v1/messages` and what lies below it answers with."""

from __future__ import annotations

import msgspec

from kvtape.errors import ContextOverflow, EngineFailed, InvalidRequest
from kvtape.protocols.openai.errors import ApiError
from kvtape.protocols.sse import encode_event

__all__ = ["MessagesError", "encode_error_event"]

_TYPES = {429: "rate_limit_error", 500: "api_error", 504: "timeout_error", 529: "overloaded_error"}
_OVERLOADED = 529  # this dialect's 503
# Tells the clients' tool runners, which ask for a thread first, to send the whole conversation instead.
_NO_THREADS = {"error_code": "thread_unsupported_request"}


class ErrorDetail(msgspec.Struct, omit_defaults=True):
    """What stands under `error`."""

    type: str
    message: str
    details: dict[str, str] | None = None


class ErrorEnvelope(msgspec.Struct, tag="error"):
    """The body of an error, alone or as an event of a stream."""

    error: ErrorDetail
    request_id: str


class MessagesError(msgspec.Struct, frozen=True):
    """An error as it goes over the wire: an HTTP status and the fields of the body."""

    status: int
    type: str
    message: str
    retry_after: float | None = None
    details: dict[str, str] | None = None

    @classmethod
    def of(cls, error: BaseException | ApiError) -> MessagesError:
        """Map an exception, or an error of the server's that was made for the other dialects."""
        api_error = error if isinstance(error, ApiError) else ApiError.of(error)
        status, message = api_error.status, api_error.message
        if isinstance(error, EngineFailed):
            status = 500
        elif status == 503:
            status = _OVERLOADED
        if isinstance(error, ContextOverflow) and error.n_tokens is not None and error.limit is not None:
            message = f"prompt is too long: {error.n_tokens} tokens > {error.limit - 1} maximum"
        details = _NO_THREADS if isinstance(error, InvalidRequest) and error.param == "thread" else None
        return cls(status, _TYPES.get(status, api_error.type), message, api_error.retry_after, details)

    def body(self, request_id: str) -> bytes:
        """Encode the response body."""
        return msgspec.json.encode(ErrorEnvelope(ErrorDetail(self.type, self.message, self.details), request_id))


def encode_error_event(error: BaseException, request_id: str) -> bytes:
    """Frame an error that happens after the stream's 200 has gone out."""
    return encode_event(MessagesError.of(error).body(request_id), event="error")
