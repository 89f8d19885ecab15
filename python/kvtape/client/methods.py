"""Calls as methods: what a call is called with is written once, for the blocking and the asynchronous client.

    class Sessions(Resource):
        list = Method(calls.list_sessions)      # def list_sessions() -> Call[SessionList]

`client.sessions.list()` then returns a `SessionList`; with `AsyncMethod` it is awaited.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from typing import Any, Generic, ParamSpec, TypeVar

from kvtape.client.call import Call, StreamCall
from kvtape.client.transport import AsyncTransport, Transport

__all__ = [
    "AsyncMethod",
    "AsyncResource",
    "AsyncStreamMethod",
    "Method",
    "Resource",
    "StreamMethod",
]

P = ParamSpec("P")
T = TypeVar("T")


class Resource:
    """Methods of one subject, over a transport."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport


class AsyncResource:
    """As `Resource`, for an event loop."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport


class Method(Generic[P, T]):
    """Sends the call that `build` makes and returns its answer."""

    def __init__(self, build: Callable[P, Call[T]]) -> None:
        self._build = build

    def __get__(self, resource: Resource, owner: type[Resource]) -> Callable[P, T]:
        """Bind the method."""

        @functools.wraps(self._build)
        def send(*args: P.args, **kwargs: P.kwargs) -> T:
            return resource._transport.send(self._build(*args, **kwargs))

        return send


class StreamMethod(Generic[P, T]):
    """Sends the call that `build` makes and yields what its answer brings."""

    def __init__(self, build: Callable[P, StreamCall[T]]) -> None:
        self._build = build

    def __get__(self, resource: Resource, owner: type[Resource]) -> Callable[P, Generator[T, None, None]]:
        """Bind the method."""

        @functools.wraps(self._build)
        def stream(*args: P.args, **kwargs: P.kwargs) -> Generator[T, None, None]:
            return resource._transport.stream(self._build(*args, **kwargs))

        return stream


class AsyncMethod(Generic[P, T]):
    """As `Method`, for an event loop."""

    def __init__(self, build: Callable[P, Call[T]]) -> None:
        self._build = build

    def __get__(self, resource: AsyncResource, owner: type[AsyncResource]) -> Callable[P, Coroutine[Any, Any, T]]:
        """Bind the method."""

        @functools.wraps(self._build)
        async def send(*args: P.args, **kwargs: P.kwargs) -> T:
            return await resource._transport.send(self._build(*args, **kwargs))

        return send


class AsyncStreamMethod(Generic[P, T]):
    """As `StreamMethod`, for an event loop."""

    def __init__(self, build: Callable[P, StreamCall[T]]) -> None:
        self._build = build

    def __get__(self, resource: AsyncResource, owner: type[AsyncResource]) -> Callable[P, AsyncGenerator[T, None]]:
        """Bind the method."""

        @functools.wraps(self._build)
        def stream(*args: P.args, **kwargs: P.kwargs) -> AsyncGenerator[T, None]:
            return resource._transport.stream(self._build(*args, **kwargs))

        return stream
