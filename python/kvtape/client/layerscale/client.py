"""A client of one server, blocking and asynchronous."""

from __future__ import annotations

from types import TracebackType
from typing import Self

import httpx

from kvtape.client.call import TIMEOUT, Settings
from kvtape.client.layerscale import calls
from kvtape.client.layerscale.sessions import AsyncSessions, Sessions
from kvtape.client.methods import (
    AsyncMethod,
    AsyncResource,
    AsyncStreamMethod,
    Method,
    Resource,
    StreamMethod,
)
from kvtape.client.retry import RECONNECT, RETRY, Backoff
from kvtape.client.transport import AsyncTransport, Transport

__all__ = ["AsyncLayerScale", "LayerScale"]


class Models(Resource):
    """The server's model."""

    list = Method(calls.list_models)
    retrieve = Method(calls.retrieve_model)


class Chat(Resource):
    """Conversations in OpenAI's form."""

    create = Method(calls.chat)
    stream = StreamMethod(calls.chat_stream)


class Completions(Resource):
    """Raw texts to go on with."""

    create = Method(calls.complete)
    stream = StreamMethod(calls.complete_stream)


class Messages(Resource):
    """Conversations in Anthropic's form."""

    create = Method(calls.message)
    stream = StreamMethod(calls.message_stream)
    count_tokens = Method(calls.count_tokens)


class LayerScale(Resource):
    """Client of one server. Errors of the server are the exceptions of `kvtape.errors`.

    Requests that change nothing are sent again where the way to the server fails; nothing else ever is.

    Args:
        base_url: such as `http://127.0.0.1:8080`.
        api_key: where the server asks for one.
        timeout: in seconds, for each request; None: none.
        retry: when requests are sent again.
        reconnect: when streams of events are.
    """

    health = Method(calls.health)
    metrics = Method(calls.metrics)

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str | None = None,
        timeout: httpx.Timeout | float | None = TIMEOUT,
        retry: Backoff = RETRY,
        reconnect: Backoff = RECONNECT,
    ) -> None:
        super().__init__(Transport(Settings(base_url, api_key, httpx.Timeout(timeout), retry, reconnect)))
        self.models = Models(self._transport)
        self.chat = Chat(self._transport)
        self.completions = Completions(self._transport)
        self.messages = Messages(self._transport)
        self.sessions = Sessions(self._transport)

    def close(self) -> None:
        """Close all connections."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncModels(AsyncResource):
    """As `Models`, for an event loop."""

    list = AsyncMethod(calls.list_models)
    retrieve = AsyncMethod(calls.retrieve_model)


class AsyncChat(AsyncResource):
    """As `Chat`, for an event loop."""

    create = AsyncMethod(calls.chat)
    stream = AsyncStreamMethod(calls.chat_stream)


class AsyncCompletions(AsyncResource):
    """As `Completions`, for an event loop."""

    create = AsyncMethod(calls.complete)
    stream = AsyncStreamMethod(calls.complete_stream)


class AsyncMessages(AsyncResource):
    """As `Messages`, for an event loop."""

    create = AsyncMethod(calls.message)
    stream = AsyncStreamMethod(calls.message_stream)
    count_tokens = AsyncMethod(calls.count_tokens)


class AsyncLayerScale(AsyncResource):
    """As `LayerScale`, for an event loop."""

    health = AsyncMethod(calls.health)
    metrics = AsyncMethod(calls.metrics)

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str | None = None,
        timeout: httpx.Timeout | float | None = TIMEOUT,
        retry: Backoff = RETRY,
        reconnect: Backoff = RECONNECT,
    ) -> None:
        super().__init__(AsyncTransport(Settings(base_url, api_key, httpx.Timeout(timeout), retry, reconnect)))
        self.models = AsyncModels(self._transport)
        self.chat = AsyncChat(self._transport)
        self.completions = AsyncCompletions(self._transport)
        self.messages = AsyncMessages(self._transport)
        self.sessions = AsyncSessions(self._transport)

    async def close(self) -> None:
        """Close all connections."""
        await self._transport.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
