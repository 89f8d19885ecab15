"""Fixtures every test may use, and the rules of the markers `slow` and `model`."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

import kvtape
from kvtape._native import _core

pytest_plugins = ["tests.reference.fixtures"]

IN_CI = os.environ.get("CI") == "true"
MODEL = "smollm2-135m"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--slow", action="store_true", help="run the tests marked slow too (the same as -m slow for them alone)"
    )


def pytest_report_header() -> str:
    return f"kvtape: {Path(kvtape.__file__).parent}, ISAs: {', '.join(_core.available_isas())}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--slow") or "slow" in config.getoption("-m"):
        return
    slow = [item for item in items if item.get_closest_marker("slow")]
    if slow:
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if not item.get_closest_marker("slow")]


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    """Random numbers that are the same in every run, and others in each test."""
    return np.random.default_rng(list(request.node.nodeid.encode()))


@pytest.fixture(params=_core.available_isas())
def isa(request: pytest.FixtureRequest) -> str:
    """Each instruction set this machine can run, by name."""
    return str(request.param)


@pytest.fixture(scope="session")
def model_path() -> Path:
    """The model file of the tests marked `model`: `KVTAPE_TEST_MODEL`, else SmolLM2 where `kvtape pull` has put it.

    Skips where it is missing; fails in CI.
    """
    named = os.environ.get("KVTAPE_TEST_MODEL")
    if named:
        assert Path(named).is_file(), f"KVTAPE_TEST_MODEL names {named}, which is not there"
        return Path(named)
    from kvtape.model.registry import cached_path

    found = cached_path(MODEL)
    if found is None:
        (pytest.fail if IN_CI else pytest.skip)(f"{MODEL} is not here; fetch it with: kvtape pull {MODEL}")
    return found
