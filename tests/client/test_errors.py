"""Errors of a server as exceptions."""

from __future__ import annotations

import msgspec
import pytest

from kvtape.client.errors import Disconnected, StatusError, Unacknowledged, error_in_stream, error_of
from kvtape.errors import Conflict, ContextOverflow, EngineFailed, InvalidRequest, KvtapeError, NotFound, Overloaded


def body(**fields):
    return msgspec.json.encode({"error": {"message": "m", **fields}})


@pytest.mark.parametrize(
    ("status", "content", "kind"),
    [
        (400, body(param="n"), InvalidRequest),
        (400, body(code="context_length_exceeded", param="prompt"), ContextOverflow),
        (404, body(), NotFound),
        (409, body(), Conflict),
        (429, body(), Overloaded),
        (503, body(), Overloaded),
        (529, body(), Overloaded),
        (401, body(), StatusError),
        (500, body(), StatusError),
    ],
)
def test_an_error_is_the_exception_it_stands_for(status, content, kind):
    error = error_of(status, content)
    assert type(error) is kind
    assert str(error) == "m"
    if isinstance(error, InvalidRequest):
        assert error.param in ("n", "prompt")
    if isinstance(error, StatusError):
        assert error.status == status


def test_a_prompt_that_is_too_long_for_a_message_says_how_long():
    message = "prompt is too long: 12 tokens > 9 maximum"
    content = msgspec.json.encode(
        {"type": "error", "error": {"type": "invalid_request_error", "message": message}, "request_id": "r"}
    )
    error = error_of(400, content)
    assert isinstance(error, ContextOverflow)
    assert (str(error), error.n_tokens, error.limit) == (message, 12, 10)


@pytest.mark.parametrize(("header", "seconds"), [(None, None), ("3", 3.0), ("Sun, 22 Nov 2026 10:00:00 GMT", None)])
def test_a_hint_when_to_come_back_is_kept(header, seconds):
    error = error_of(503, body(), header)
    assert isinstance(error, Overloaded)
    assert error.retry_after == seconds


@pytest.mark.parametrize("content", [b"", b"<html>", b"[]", b'{"error": "text"}', b"null", b"\xff"])
def test_a_body_that_is_no_error_object_still_makes_one(content):
    error = error_of(502, content)
    assert isinstance(error, StatusError)
    assert error.status == 502
    assert str(error)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (body(type="unavailable_error"), Overloaded),
        (body(type="invalid_request_error", code="context_length_exceeded"), ContextOverflow),
        (body(type="not_found_error"), NotFound),
        (body(type="server_error"), StatusError),
        (b"{", StatusError),
    ],
)
def test_an_error_within_a_stream_is_known_by_its_type(content, kind):
    assert type(error_in_stream(content)) is kind


def test_errors_of_the_client_are_those_of_kvtape():
    assert issubclass(StatusError, KvtapeError)
    assert issubclass(Disconnected, EngineFailed)
    error = Unacknowledged("m", data=[1])
    assert isinstance(error, EngineFailed)
    assert error.data == [1]
