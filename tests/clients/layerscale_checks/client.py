"""A client of the version in hand, for checks that are written once for both of its kinds."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any

import httpx
import layerscale
from layerscale import resources
from layerscale.lib import ws

KEY = "LS-test"
END = object()

ssl.create_default_context = cache(ssl.create_default_context)  # each client makes one, and never uses it here


@dataclass(frozen=True)
class World:
    """What stands around a client: servers by name, and rows with their statistics."""

    urls: dict[str, str]
    rows: dict[str, list[dict[str, Any]]]
    stats: dict[str, dict[str, Any]]
    lines: str  # a reply of `scripted`, see there
    version: tuple[int, ...]


def methods(asynchronous: bool) -> set[str]:
    """Name every public method that the package has: of the client, its resources, its streams and its sockets."""
    root = layerscale.AsyncLayerScale if asynchronous else layerscale.LayerScale
    prefix = "Async" if asynchronous else ""
    owners = {
        name: getattr(resources, f"{prefix}{name.capitalize()}")
        for name, value in vars(root).items()
        if isinstance(value, cached_property)
    }
    owners |= {"client": root, "stream": getattr(layerscale, f"{prefix}Stream")}
    owners["socket"] = getattr(ws, f"{prefix}SessionSocket")
    return {
        f"{owner}.{name}"
        for owner, kind in owners.items()
        for name, value in inspect.getmembers(kind, inspect.isfunction)
        if not name.startswith("_")
    }


def exceptions() -> set[str]:
    """Name every exception class that the package exports."""
    found = {name: getattr(layerscale, name) for name in layerscale.__all__}
    return {name for name, value in found.items() if inspect.isclass(value) and issubclass(value, Exception)}


@dataclass
class Part:
    """A resource, stream or socket of a client. Calls are awaited, items come by `async for`."""

    inner: Any
    name: str
    called: set[str]
    _items: Any = field(default=None, init=False)

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        function = getattr(self.inner, name)

        async def call(*args: Any, **kwargs: Any) -> Any:
            self.called.add(f"{self.name}.{name}")
            value = await _run(function, *args, **kwargs)
            if isinstance(value, (layerscale.Stream, layerscale.AsyncStream)):
                return Part(value, "stream", self.called)
            if isinstance(value, (layerscale.SessionSocket, layerscale.AsyncSessionSocket)):
                return Part(value, "socket", self.called)
            return value

        return call

    async def __aenter__(self) -> Part:
        if hasattr(self.inner, "__aenter__"):
            await self.inner.__aenter__()
        else:
            await _run(self.inner.__enter__)
        return self

    async def __aexit__(self, *problem: Any) -> None:
        if hasattr(self.inner, "__aexit__"):
            await self.inner.__aexit__(*problem)
        else:
            await _run(self.inner.__exit__, *problem)

    def __aiter__(self) -> Part:
        return self

    async def __anext__(self) -> Any:
        if hasattr(self.inner, "__aiter__"):
            self._items = self._items or self.inner.__aiter__()
            return await self._items.__anext__()
        self._items = self._items or iter(self.inner)
        item = await asyncio.to_thread(next, self._items, END)
        if item is END:
            raise StopAsyncIteration
        return item


async def _run(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    if inspect.iscoroutinefunction(function):
        return await function(*args, **kwargs)
    return await asyncio.to_thread(function, *args, **kwargs)


class Client:
    """A LayerScale client of the version in hand: `await client.sessions.get(id)`, and so on."""

    def __init__(self, world: World, asynchronous: bool, called: set[str], **options: Any) -> None:
        self.world = world
        self.asynchronous = asynchronous
        self._called = called
        self._opened: list[Client] = []
        self._sessions: list[str] = []
        kind = layerscale.AsyncLayerScale if asynchronous else layerscale.LayerScale
        self.inner = kind(**options)

    def __getattr__(self, name: str) -> Part:
        return Part(getattr(self.inner, name), name, self._called)

    def other(self, server: str = "main", **options: Any) -> Client:
        """Make another client: for another server of the world, with another key, with retries."""
        options = {"base_url": self.world.urls[server], "api_key": KEY, "max_retries": 0, **options}
        made = Client(self.world, self.asynchronous, self._called, **options)
        self._opened.append(made)
        return made

    async def session(self, **options: Any) -> Any:
        """Create a session that is deleted behind the check."""
        created = await self.sessions.create(**options)
        self._sessions.append(getattr(created, "session_id", None) or created.id)
        return created

    @contextlib.asynccontextmanager
    async def socket(self, session_id: str) -> AsyncIterator[Part]:
        """Open the WebSocket of a session, whose method has a name in each generation."""
        opening = self.sessions.stream if self.world.version < (0, 5) else self.sessions.ws
        async with await opening(session_id) as socket:
            yield socket

    async def kill(self) -> None:
        """End the engine of the server this is a client of, one of those named `dying`."""
        async with httpx.AsyncClient() as client:
            await client.post(f"{self.inner._client.base_url}/kill")

    async def close(self) -> None:
        """Close the client."""
        self._called.add("client.close")
        await _run(self.inner.close)

    async def tidy(self) -> None:
        """Delete the check's sessions and close its clients."""
        for session_id in self._sessions:
            deadline = time.monotonic() + 5
            while time.monotonic() < deadline:
                try:
                    await self.sessions.delete(session_id)
                except layerscale.ConflictError:  # a request of the check's has just been given up
                    await asyncio.sleep(0.02)
                except layerscale.APIError:
                    break
                else:
                    break
        for client in self._opened:
            await client.tidy()
        await _run(self.inner.close)
