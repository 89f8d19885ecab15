"""Status, type and bytes of each error."""

from __future__ import annotations

import pytest

from kvtape.errors import (
    Conflict,
    ContextOverflow,
    EngineFailed,
    InvalidRequest,
    KvtapeError,
    ModelError,
    NotFound,
    Overloaded,
)
from kvtape.protocols.anthropic.errors import MessagesError, encode_error_event
from kvtape.protocols.openai.errors import ApiError


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (InvalidRequest("x", param="n"), 400, "invalid_request_error"),
        (NotFound("x"), 404, "not_found_error"),
        (Conflict("x"), 409, "conflict_error"),
        (Overloaded("x"), 529, "overloaded_error"),
        (EngineFailed("x"), 500, "api_error"),
        (ModelError("x"), 500, "api_error"),
        (KvtapeError("x"), 500, "api_error"),
        (ApiError.of_status(401, "x"), 401, "authentication_error"),
        (ApiError.of_status(403, "x"), 403, "permission_error"),
        (ApiError.of_status(405, "x"), 405, "invalid_request_error"),
        (ApiError.of_status(408, "x"), 408, "timeout_error"),
        (ApiError.of_status(413, "x"), 413, "request_too_large"),
        (ApiError.of_status(429, "x"), 429, "rate_limit_error"),
        (ApiError.of_status(503, "x"), 529, "overloaded_error"),
    ],
)
def test_each_error_has_its_status_and_type(error, status, kind):
    found = MessagesError.of(error)
    assert (found.status, found.type, found.message) == (status, kind, "x")


def test_the_body_is_these_bytes():
    assert MessagesError.of(InvalidRequest("n must be 1")).body("req_1") == (
        b'{"type":"error","error":{"type":"invalid_request_error","message":"n must be 1"},"request_id":"req_1"}'
    )


def test_a_thread_is_refused_in_the_words_that_tool_runners_look_for():
    assert MessagesError.of(InvalidRequest("no threads", param="thread")).body("req_1") == (
        b'{"type":"error","error":{"type":"invalid_request_error","message":"no threads",'
        b'"details":{"error_code":"thread_unsupported_request"}},"request_id":"req_1"}'
    )


def test_overflow_has_the_words_that_clients_look_for():
    error = ContextOverflow("too long", n_tokens=300, limit=256)
    assert MessagesError.of(error).message == "prompt is too long: 300 tokens > 255 maximum"
    assert MessagesError.of(ContextOverflow("too long")).message == "too long"


def test_the_text_of_a_foreign_exception_stays_inside():
    assert "secret" not in MessagesError.of(RuntimeError("secret path")).message


def test_overload_carries_its_hint():
    assert MessagesError.of(Overloaded("full", retry_after=2.5)).retry_after == 2.5


def test_an_error_in_a_stream_is_an_event():
    assert encode_error_event(EngineFailed("gone"), "req_1") == (
        b'event: error\ndata: {"type":"error","error":{"type":"api_error","message":"gone"},"request_id":"req_1"}\n\n'
    )
