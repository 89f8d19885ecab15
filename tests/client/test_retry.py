"""When something is tried again."""

from __future__ import annotations

import pytest

from kvtape.client.errors import Disconnected, StatusError
from kvtape.client.retry import RECONNECT, RETRY, Backoff, is_passing, may_repeat
from kvtape.errors import EngineFailed, InvalidRequest, NotFound, Overloaded

BUDGET = Overloaded("the server is holding too many request bodies; try again")


def test_delays_double_up_to_a_limit_and_differ():
    backoff = Backoff(first=1.0, most=5.0, tries=6)
    for n_failures, whole in enumerate([1.0, 2.0, 4.0, 5.0, 5.0, 5.0], start=1):
        delays = {backoff.delay(n_failures) for _ in range(50)}
        assert len(delays) > 1
        assert all(whole / 2 <= delay <= whole for delay in delays)
    assert backoff.delay(7) is None


def test_the_defaults_have_an_end():
    for backoff in (RETRY, RECONNECT):
        delays = [backoff.delay(n_failures) for n_failures in range(1, backoff.tries + 1)]
        assert None not in delays
        assert sum(delays) < 90
        assert backoff.delay(backoff.tries + 1) is None


@pytest.mark.parametrize(
    ("method", "error", "expected"),
    [
        ("GET", Disconnected("m"), True),
        ("GET", StatusError("m", status=408), True),
        ("GET", BUDGET, True),
        ("GET", Overloaded("not ready"), False),
        ("GET", StatusError("m", status=500), False),
        ("GET", EngineFailed("slow"), False),
        ("POST", Disconnected("m"), False),
        ("POST", BUDGET, False),
        ("DELETE", Disconnected("m"), False),
    ],
)
def test_requests_that_change_something_are_never_repeated(method, error, expected):
    assert may_repeat(method, error) is expected


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (Disconnected("m"), True),
        (Overloaded("m"), True),
        (StatusError("m", status=502), True),
        (StatusError("m", status=408), True),
        (StatusError("m", status=401), False),
        (NotFound("m"), False),
        (InvalidRequest("m"), False),
    ],
)
def test_what_a_stream_of_events_outlives(error, expected):
    assert is_passing(error) is expected
