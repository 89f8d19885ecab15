"""Where a reader of events goes on."""

from __future__ import annotations

import pytest

from kvtape.client.errors import Disconnected, StatusError
from kvtape.client.layerscale.trail import Trail
from kvtape.client.retry import Backoff
from kvtape.errors import KvtapeError, NotFound
from kvtape.protocols.layerscale.models import Connected, FlashReady

CONNECTED = Connected("s", 4, 1, streaming=True)
READY = FlashReady(1, "up?", "yes", 4, 1.5, 1_733_000_000)
BACKOFF = Backoff(first=1.0, most=4.0, tries=4)


@pytest.mark.parametrize(
    ("asked", "events", "shown", "last"),
    [
        (None, [(CONNECTED, 7), (READY, 8)], [True, True], 8),
        (None, [(CONNECTED, None), (READY, None)], [True, True], None),
        (None, [(CONNECTED, None), (READY, 7), (READY, 8)], [True, True, True], 8),
        (7, [(CONNECTED, 7), (READY, 8)], [False, True], 8),
        (7, [(CONNECTED, 7), (READY, 7), (READY, 8), (READY, 8)], [False, False, True, False], 8),
        (7, [(CONNECTED, 5000), (READY, 5001)], [True, True], 5001),
        (7, [(CONNECTED, 0), (READY, 1)], [True, True], 1),
        (7, [(CONNECTED, None), (READY, 3)], [True, True], 3),
        (7, [(CONNECTED, None)], [True], None),
    ],
)
def test_what_is_shown_and_where_it_goes_on(asked, events, shown, last):
    trail = Trail(BACKOFF, asked)
    assert [trail.takes(event, number) for event, number in events] == shown
    assert trail.last_event_id == last


def test_who_has_never_been_there_learns_it_soon():
    trail = Trail(BACKOFF)
    assert trail.broken(Disconnected("m")) is not None
    assert trail.broken(Disconnected("m")) is not None
    with pytest.raises(Disconnected):
        trail.broken(Disconnected("m"))
    with pytest.raises(NotFound):
        Trail(BACKOFF).broken(NotFound("m"))


def test_who_has_been_there_is_patient_until_an_event_comes():
    trail = Trail(BACKOFF)
    trail.takes(CONNECTED, 0)
    delays = [trail.broken(error) for error in (None, Disconnected("m"), StatusError("m", status=502), None)]
    assert all(whole / 2 <= delay <= whole for delay, whole in zip(delays, [1.0, 2.0, 4.0, 4.0], strict=True))
    trail.takes(READY, 1)
    assert trail.broken(None) <= 1.0
    for _ in range(3):
        trail.broken(None)
    with pytest.raises(KvtapeError, match="again and again"):
        trail.broken(None)


def test_some_errors_are_the_end():
    trail = Trail(BACKOFF)
    trail.takes(CONNECTED, 0)
    assert trail.broken(NotFound("m")) is None  # the session was deleted
    with pytest.raises(StatusError):
        trail.broken(StatusError("m", status=401))
