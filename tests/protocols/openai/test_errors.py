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
from kvtape.protocols.openai.errors import ApiError, encode_error_event


@pytest.mark.parametrize(
    ("error", "status", "body"),
    [
        (
            InvalidRequest("n must be 1", param="n"),
            400,
            b'{"error":{"message":"n must be 1","type":"invalid_request_error","param":"n"}}',
        ),
        (
            ContextOverflow("too long"),
            400,
            b'{"error":{"message":"too long","type":"invalid_request_error",'
            b'"code":"context_length_exceeded","param":"prompt"}}',
        ),
        (NotFound("no session x"), 404, b'{"error":{"message":"no session x","type":"not_found_error"}}'),
        (Conflict("busy"), 409, b'{"error":{"message":"busy","type":"conflict_error"}}'),
        (Overloaded("full"), 503, b'{"error":{"message":"full","type":"unavailable_error"}}'),
        (EngineFailed("closed"), 503, b'{"error":{"message":"closed","type":"unavailable_error"}}'),
        (ModelError("bad"), 500, b'{"error":{"message":"bad","type":"server_error"}}'),
        (KvtapeError("odd"), 500, b'{"error":{"message":"odd","type":"server_error"}}'),
    ],
)
def test_errors_are_these_bytes(error, status, body):
    api_error = ApiError.of(error)
    assert api_error.status == status
    assert api_error.body() == body


def test_overflow_keeps_the_parameter_it_was_given():
    assert ApiError.of(ContextOverflow("too long", param="messages")).param == "messages"


def test_the_text_of_a_foreign_exception_stays_inside():
    api_error = ApiError.of(RuntimeError("secret path"))
    assert api_error.status == 500
    assert b"secret" not in api_error.body()


def test_overload_carries_its_hint():
    assert ApiError.of(Overloaded("full", retry_after=2.5)).retry_after == 2.5


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, "authentication_error"),
        (403, "permission_error"),
        (405, "invalid_request_error"),
        (408, "timeout_error"),
        (413, "request_too_large"),
        (500, "server_error"),
    ],
)
def test_types_of_bare_statuses(status, kind):
    assert ApiError.of_status(status, "x").type == kind


def test_an_error_in_a_stream_is_one_data_frame():
    assert (
        encode_error_event(EngineFailed("gone")) == b'data: {"error":{"message":"gone","type":"unavailable_error"}}\n\n'
    )
