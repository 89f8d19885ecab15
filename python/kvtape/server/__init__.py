"""The HTTP server: an ASGI app over an engine."""

from __future__ import annotations

from kvtape.server.app import create_app

__all__ = ["create_app"]
