"""kvtape: live data in a language model's context."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kvtape import client, server
    from kvtape.engine import AsyncEngine, Engine
    from kvtape.errors import KvtapeError
    from kvtape.ring import SharedRing
    from kvtape.types import FinishReason, SamplingParams, TokenEvent

__version__ = "0.1.0"

__all__ = [
    "AsyncEngine",
    "Engine",
    "FinishReason",
    "KvtapeError",
    "SamplingParams",
    "SharedRing",
    "TokenEvent",
    "client",
    "server",
]

_HOME = {
    "AsyncEngine": "kvtape.engine",
    "Engine": "kvtape.engine",
    "FinishReason": "kvtape.types",
    "KvtapeError": "kvtape.errors",
    "SamplingParams": "kvtape.types",
    "SharedRing": "kvtape.ring",
    "TokenEvent": "kvtape.types",
}


def __getattr__(name: str) -> Any:
    """Import public names on first use (PEP 562): `import kvtape` loads neither numpy nor the native library."""
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    if name in __all__:
        try:
            return importlib.import_module(f"kvtape.{name}")
        except ModuleNotFoundError as error:
            hint = f"kvtape.{name} needs {error.name}; install it with: pip install 'kvtape[server]'"
            raise ModuleNotFoundError(hint, name=error.name) from error
    raise AttributeError(f"module 'kvtape' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
