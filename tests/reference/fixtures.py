"""Fixtures over the reference models. tests/conftest.py names this module in `pytest_plugins`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.reference.tiny_model import TinySpec, write_tiny_model

__all__ = ["make_tiny_model", "tiny_model"]


@pytest.fixture(scope="session")
def make_tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a function that writes the model of `TinySpec(**fields)` once a run and gives its path."""
    folder = tmp_path_factory.mktemp("tiny-models")
    written: dict[TinySpec, Path] = {}

    def make(**fields: object) -> Path:
        spec = TinySpec(**fields)  # type: ignore[arg-type]
        if spec not in written:
            written[spec] = write_tiny_model(folder / f"tiny-{len(written)}-{spec.weights}.gguf", spec)
        return written[spec]

    return make


@pytest.fixture(scope="session")
def tiny_model(make_tiny_model: Callable[..., Path]) -> Path:
    """Path of the default tiny model: 2 layers, 96 wide, 6 heads over 3 kv heads of 16, Q8_0."""
    return make_tiny_model()
