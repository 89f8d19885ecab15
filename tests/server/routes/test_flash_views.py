"""Numbers that JSON cannot hold."""

from __future__ import annotations

import math

import pytest
from msgspec import UNSET

from kvtape.server.routes.flash_views import session_event
from kvtape.session.events import DataUpdated, FlashReady


@pytest.mark.parametrize(("confidence", "shown"), [(1.5, 1.5), (math.inf, 1e9), (0.0, 0.0)])
def test_confidence_is_always_finite(confidence, shown):
    event = session_event(FlashReady(1, "q", "v", 2, confidence, 3))
    assert event.confidence == shown


def test_updates_carry_both_generations_fields():
    event = session_event(DataUpdated(4, n_tokens=90, n_pending=1, n_rows=5, n_dropped=2))
    assert (event.data_version, event.tokens, event.pos_next, event.pending, event.data_count) == (4, 90, 90, 1, 5)
    assert event.total_dropped == 2


def test_the_odds_of_choices_are_there_where_there_are_choices():
    ready = FlashReady(1, "q", "Yes", 2, 1.5, 3, {"Yes": 0.75, "No": 0.25}, 0.5)
    assert session_event(ready).probabilities == {"Yes": 0.75, "No": 0.25}
    assert session_event(ready).coverage == 0.5
    assert session_event(FlashReady(1, "q", "v", 2, 1.5, 3)).probabilities is UNSET
