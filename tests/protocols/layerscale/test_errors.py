"""Errors whose wording is part of the protocol."""

from __future__ import annotations

from kvtape.protocols.layerscale.errors import BODY_BUDGET_EXCEEDED


def test_the_body_budget_error_says_the_words_that_clients_retry_on():
    assert BODY_BUDGET_EXCEEDED.status == 503
    assert "holding too many request bodies" in BODY_BUDGET_EXCEEDED.message
