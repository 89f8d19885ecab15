"""Fixtures of the engine tests."""

from tests.serving import tiny_engine

__all__ = ["tiny_engine"]
