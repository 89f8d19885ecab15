"""Fixtures of the client tests: a server on a loopback port, over a tiny random model."""

from __future__ import annotations

import pytest

from kvtape.server import create_app
from tests.serving import running, tiny_engine

__all__ = ["tiny_engine"]


@pytest.fixture(scope="session")
def url(tiny_engine):
    with running(create_app(tiny_engine, api_keys=["key"])) as url:
        yield url
