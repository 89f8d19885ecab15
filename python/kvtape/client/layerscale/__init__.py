"""A client of live-data sessions, chats, messages and completions, blocking and asynchronous."""

from kvtape.client.layerscale.async_socket import AsyncSessionSocket
from kvtape.client.layerscale.client import AsyncLayerScale, LayerScale
from kvtape.client.layerscale.events import AsyncEvents, Event, Events
from kvtape.client.layerscale.options import FlashQuery
from kvtape.client.layerscale.sessions import AsyncSessions, Sessions
from kvtape.client.layerscale.socket import SessionSocket

__all__ = [
    "AsyncEvents",
    "AsyncLayerScale",
    "AsyncSessionSocket",
    "AsyncSessions",
    "Event",
    "Events",
    "FlashQuery",
    "LayerScale",
    "SessionSocket",
    "Sessions",
]
