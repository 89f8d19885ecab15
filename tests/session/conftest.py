"""Fixtures of the session tests."""

from tests.serving import tiny_engine

__all__ = ["tiny_engine"]
