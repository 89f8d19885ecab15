"""WebSocket connections, with errors of the handshake as exceptions of kvtape's."""

from __future__ import annotations

from typing import Any

from websockets.asyncio.client import ClientConnection as AsyncConnection
from websockets.asyncio.client import connect as connect_async
from websockets.exceptions import InvalidStatus, WebSocketException
from websockets.sync.client import ClientConnection as Connection
from websockets.sync.client import connect

from kvtape.client.call import USER_AGENT, Settings
from kvtape.client.errors import Disconnected, error_of
from kvtape.errors import KvtapeError

__all__ = ["AsyncConnection", "Connection", "dial", "dial_async"]

CLOSE_SECONDS = 2.0  # to wait for the other side's goodbye


def _address(settings: Settings, path: str) -> str:
    return settings.base_url.rstrip("/").replace("http", "ws", 1) + path  # https becomes wss


def _options(settings: Settings) -> dict[str, Any]:
    return {
        "additional_headers": settings.authorization(),
        "user_agent_header": USER_AGENT,
        "compression": None,
        "open_timeout": settings.timeout.connect,
        "close_timeout": CLOSE_SECONDS,
    }


def _refusal(path: str, error: Exception) -> KvtapeError:
    if isinstance(error, InvalidStatus):
        return error_of(error.response.status_code, bytes(error.response.body or b""))
    return Disconnected(f"{path}: {error or type(error).__name__}")


def dial(settings: Settings, path: str) -> Connection:
    """Connect.

    Raises:
        KvtapeError: the server's refusal, or `Disconnected`.
    """
    try:
        return connect(_address(settings, path), **_options(settings))
    except (OSError, EOFError, WebSocketException) as error:
        raise _refusal(path, error) from error


async def dial_async(settings: Settings, path: str) -> AsyncConnection:
    """As `dial`, for an event loop."""
    try:
        return await connect_async(_address(settings, path), **_options(settings))
    except (OSError, EOFError, WebSocketException) as error:
        raise _refusal(path, error) from error
