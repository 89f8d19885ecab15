"""Clients of kvtape's servers; none of them needs the native library."""

from __future__ import annotations

from kvtape.client.errors import Disconnected, StatusError, Unacknowledged
from kvtape.client.layerscale import AsyncLayerScale, LayerScale
from kvtape.client.retry import Backoff

__all__ = ["AsyncLayerScale", "Backoff", "Disconnected", "LayerScale", "StatusError", "Unacknowledged"]
