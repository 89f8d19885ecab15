"""Clients of kvtape's servers; none of them needs the native library."""

from __future__ import annotations

from kvtape.client.layerscale import AsyncLayerScale, LayerScale

__all__ = ["AsyncLayerScale", "LayerScale"]
