"""Errors that only LayerScale clients know; everything else is the OpenAI envelope of `openai.errors`."""

from __future__ import annotations

from kvtape.protocols.openai.errors import ApiError

__all__ = ["BODY_BUDGET_EXCEEDED"]

# The words are part of the protocol: this is the one 503 that the newer clients retry.
BODY_BUDGET_EXCEEDED = ApiError.of_status(503, "the server is holding too many request bodies; try again")
