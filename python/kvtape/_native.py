"""The one module that imports the native library."""

from __future__ import annotations

from kvtape import _core

__all__ = ["_core"]
