"""Fixtures of the attention kernels."""

import pytest

from kvtape.engine.core import KV_TYPES


@pytest.fixture(params=KV_TYPES)
def kv_type(request: pytest.FixtureRequest) -> str:
    """Each way K and V are stored."""
    return str(request.param)
