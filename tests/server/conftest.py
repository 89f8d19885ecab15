"""Fixtures of the server tests: one server on a loopback port, over a tiny random model."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from kvtape.server import create_app
from tests.serving import running, tiny_engine

__all__ = ["tiny_engine"]


@pytest.fixture(scope="session")
def app(tiny_engine):
    return create_app(tiny_engine)


@pytest.fixture(scope="session")
def url(app) -> Iterator[str]:
    with running(app) as url:
        yield url


@pytest.fixture
def http(url) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, timeout=60) as client:
        yield client
