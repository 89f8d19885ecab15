"""A client of live-data sessions and chat completions, blocking and asynchronous."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

import httpx
import msgspec

from kvtape.client.transport import TIMEOUT, AsyncTransport, Call, Transport, raise_for_error
from kvtape.errors import EngineFailed
from kvtape.protocols.layerscale import models
from kvtape.protocols.openai.models import Chunk, Completion
from kvtape.protocols.sse import SseEvent

__all__ = ["AsyncLayerScale", "AsyncSessions", "LayerScale", "Sessions"]

T = TypeVar("T")

Row = models.SessionRow | Mapping[str, Any]
StreamType = Literal["ohlcv", "iot", "spatial", "event", "vitals"]
Event = models.Connected | models.DataUpdated | models.FlashReady
Piece = models.GenerateToken | models.Generated

_EVENT_NAMES = ("connected", "data_updated", "flash_ready")


# -- the calls, the same for both clients ------------------------------------------------------------------------------


def _given(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _create(
    type: str,
    prompt: str | None,
    context: int | None,
    flash: Sequence[str | Mapping[str, Any]] | None,
    mark_prefix: bool,
) -> Call[models.SessionObject]:
    body = _given(type=type, prompt=prompt, context=context, flash=flash, mark_prefix=mark_prefix or None)
    return Call("POST", "/v1/sessions/init", models.SessionObject, body)


def _on(session_id: str, path: str = "") -> str:
    return f"/v1/sessions/{session_id}{path}"


def _push(session_id: str, rows: Sequence[Row]) -> Call[models.PushResult]:
    return Call("POST", _on(session_id, "/stream/push"), models.PushResult, {"data": list(rows)})


def _status(session_id: str) -> Call[models.StreamStatus]:
    return Call("GET", _on(session_id, "/stream/status"), models.StreamStatus)


def _stats(session_id: str) -> Call[models.Stats]:
    return Call("GET", _on(session_id, "/stats"), models.Stats)  # type: ignore[arg-type]  # a union is no type[T]


def _is_resident(status: models.StreamStatus, ack: models.PushResult) -> bool:
    return status.streaming.queue_size == 0 and status.statistics.items_processed >= ack.total_enqueued


def _still_waiting(session_id: str, seconds: float) -> EngineFailed:
    return EngineFailed(f"the rows pushed to session {session_id} were not resident after {seconds:g} s")


def _generate(session_id: str, prompt: str | None, *, stream: bool, **options: Any) -> Call[models.Generated]:
    body = {**_given(prompt=prompt, **options), "stream": stream}
    return Call("POST", _on(session_id, "/generate"), models.Generated, body)


def _chat(messages: Sequence[Mapping[str, Any]], *, stream: bool, **options: Any) -> Call[Completion]:
    body = {"messages": list(messages), **_given(**options), "stream": stream}
    return Call("POST", "/v1/chat/completions", Completion, body)


def _flash(session_id: str, query: str, max_tokens: int | None) -> Call[models.FlashRegistered]:
    body = _given(query=query, max_tokens=max_tokens)
    return Call("POST", _on(session_id, "/flash"), models.FlashRegistered, body)


# -- frames ------------------------------------------------------------------------------------------------------------


def _read_piece(frame: SseEvent) -> Piece:
    content = frame.data.encode()
    fields = msgspec.json.decode(content)
    if "error" in fields:
        raise_for_error(503, content)
    if fields.get("done") is True:
        return msgspec.convert(fields, models.Generated)
    return msgspec.convert(fields, models.GenerateToken)


def _read_chunk(frame: SseEvent) -> Chunk | None:
    if frame.data == "[DONE]":
        return None
    content = frame.data.encode()
    if "error" in (fields := msgspec.json.decode(content)):
        raise_for_error(503, content)
    return msgspec.convert(fields, Chunk)


def _read_event(frame: SseEvent) -> Event | None:
    if frame.event not in _EVENT_NAMES:  # newer servers may know more
        return None
    event: Event = msgspec.json.decode(frame.data, type=Event)
    return event


# -- blocking ----------------------------------------------------------------------------------------------------------


class Sessions:
    """Live-data sessions."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(
        self,
        *,
        type: StreamType = "ohlcv",
        prompt: str | None = None,
        context: int | None = None,
        flash: Sequence[str | Mapping[str, Any]] | None = None,
        mark_prefix: bool = False,
    ) -> models.SessionObject:
        """Open a session."""
        return self._transport.send(_create(type, prompt, context, flash, mark_prefix))

    def list(self) -> models.SessionList:
        """List the live sessions."""
        return self._transport.send(Call("GET", "/v1/sessions", models.SessionList))

    def get(self, session_id: str) -> models.SessionObject:
        """Show a session, its text included."""
        return self._transport.send(Call("GET", _on(session_id, "/state"), models.SessionObject))

    def delete(self, session_id: str) -> None:
        """Delete a session."""
        self._transport.send(Call("DELETE", _on(session_id), models.SessionDeleted))

    def append(self, session_id: str, text: str) -> models.AppendResult:
        """Append raw text to the context."""
        return self._transport.send(Call("POST", _on(session_id, "/append"), models.AppendResult, {"text": text}))

    def mark_prefix(self, session_id: str) -> models.MarkPrefixResult:
        """Freeze the context as it is."""
        return self._transport.send(Call("POST", _on(session_id, "/mark_prefix"), models.MarkPrefixResult, {}))

    def push(self, session_id: str, rows: Sequence[Row], *, wait: bool = False) -> models.PushResult:
        """Queue rows of the session's type; with `wait`, return when they are part of the context.

        Raises:
            InvalidRequest: a row is malformed, `param` names it and its field; nothing was queued.
        """
        ack = self._transport.send(_push(session_id, rows))
        if wait:
            self.wait(session_id, ack)
        return ack

    def wait(
        self, session_id: str, ack: models.PushResult, *, seconds: float = 30.0, interval: float = 0.01
    ) -> models.StreamStatus:
        """Wait until what `ack` acknowledged is part of the context.

        Raises:
            EngineFailed: that took longer than `seconds`.
        """
        deadline = time.monotonic() + seconds
        while not _is_resident(status := self.status(session_id), ack):
            if time.monotonic() > deadline:
                raise _still_waiting(session_id, seconds)
            time.sleep(interval)
        return status

    def status(self, session_id: str) -> models.StreamStatus:
        """Show how far the ingest is."""
        return self._transport.send(_status(session_id))

    def stats(self, session_id: str) -> models.Stats:
        """Return statistics over the rows, those of the session's type."""
        return self._transport.send(_stats(session_id))

    def query(self, session_id: str, prompt: str | None = None, **options: Any) -> models.Generated:
        """Ask a question; `options` are max_tokens, temperature, top_p, seed, stop, fast_answer, clear_after."""
        return self._transport.send(_generate(session_id, prompt, stream=False, **options))

    def stream(self, session_id: str, prompt: str | None = None, **options: Any) -> Generator[Piece, None, None]:
        """As `query`, piece by piece; the last one is the whole answer."""
        return self._transport.stream(_generate(session_id, prompt, stream=True, **options), _read_piece)

    def flash(self, session_id: str, query: str, *, max_tokens: int | None = None) -> models.FlashRegistered:
        """Register a question that is answered after each update of the data."""
        return self._transport.send(_flash(session_id, query, max_tokens))

    def list_flash(self, session_id: str) -> models.FlashList:
        """List the flash queries and their answers."""
        return self._transport.send(Call("GET", _on(session_id, "/flash"), models.FlashList))

    def unflash(self, session_id: str, query_id: int) -> models.FlashDeleted:
        """Remove a flash query."""
        return self._transport.send(Call("DELETE", _on(session_id, f"/flash/{query_id}"), models.FlashDeleted))

    def events(self, session_id: str) -> Generator[Event, None, None]:
        """Yield what happens in the session, the current answers first."""
        return self._transport.stream(Call("GET", _on(session_id, "/events"), bytes), _read_event)


class LayerScale:
    """Client of one server. Errors of the server are the exceptions of `kvtape.errors`.

    Args:
        base_url: such as `http://127.0.0.1:8080`.
        api_key: where the server asks for one.
        timeout: in seconds, for each request; None: none.
    """

    def __init__(
        self, base_url: str, *, api_key: str | None = None, timeout: httpx.Timeout | float | None = TIMEOUT
    ) -> None:
        self._transport = Transport(base_url, api_key=api_key, timeout=timeout)
        self.sessions = Sessions(self._transport)

    def health(self) -> models.Health:
        """Return the server's counters.

        Raises:
            Overloaded: it is not ready.
        """
        return self._transport.send(Call("GET", "/health", models.Health))

    def models(self) -> models.ModelList:
        """Return the server's model."""
        return self._transport.send(Call("GET", "/v1/models", models.ModelList))

    def chat(self, messages: Sequence[Mapping[str, Any]], **options: Any) -> Completion:
        """Answer a conversation; `options` are those of OpenAI's chat completions."""
        return self._transport.send(_chat(messages, stream=False, **options))

    def chat_stream(self, messages: Sequence[Mapping[str, Any]], **options: Any) -> Generator[Chunk, None, None]:
        """As `chat`, chunk by chunk."""
        return self._transport.stream(_chat(messages, stream=True, **options), _read_chunk)

    def close(self) -> None:
        """Close all connections."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


# -- asynchronous ------------------------------------------------------------------------------------------------------


class AsyncSessions:
    """As `Sessions`, for an event loop."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def create(
        self,
        *,
        type: StreamType = "ohlcv",
        prompt: str | None = None,
        context: int | None = None,
        flash: Sequence[str | Mapping[str, Any]] | None = None,
        mark_prefix: bool = False,
    ) -> models.SessionObject:
        """Open a session."""
        return await self._transport.send(_create(type, prompt, context, flash, mark_prefix))

    async def list(self) -> models.SessionList:
        """List the live sessions."""
        return await self._transport.send(Call("GET", "/v1/sessions", models.SessionList))

    async def get(self, session_id: str) -> models.SessionObject:
        """Show a session, its text included."""
        return await self._transport.send(Call("GET", _on(session_id, "/state"), models.SessionObject))

    async def delete(self, session_id: str) -> None:
        """Delete a session."""
        await self._transport.send(Call("DELETE", _on(session_id), models.SessionDeleted))

    async def append(self, session_id: str, text: str) -> models.AppendResult:
        """Append raw text to the context."""
        return await self._transport.send(Call("POST", _on(session_id, "/append"), models.AppendResult, {"text": text}))

    async def mark_prefix(self, session_id: str) -> models.MarkPrefixResult:
        """Freeze the context as it is."""
        return await self._transport.send(Call("POST", _on(session_id, "/mark_prefix"), models.MarkPrefixResult, {}))

    async def push(self, session_id: str, rows: Sequence[Row], *, wait: bool = False) -> models.PushResult:
        """Queue rows of the session's type; with `wait`, return when they are part of the context.

        Raises:
            InvalidRequest: a row is malformed, `param` names it and its field; nothing was queued.
        """
        ack = await self._transport.send(_push(session_id, rows))
        if wait:
            await self.wait(session_id, ack)
        return ack

    async def wait(
        self, session_id: str, ack: models.PushResult, *, seconds: float = 30.0, interval: float = 0.01
    ) -> models.StreamStatus:
        """Wait until what `ack` acknowledged is part of the context.

        Raises:
            EngineFailed: that took longer than `seconds`.
        """
        deadline = time.monotonic() + seconds
        while not _is_resident(status := await self.status(session_id), ack):
            if time.monotonic() > deadline:
                raise _still_waiting(session_id, seconds)
            await asyncio.sleep(interval)
        return status

    async def status(self, session_id: str) -> models.StreamStatus:
        """Show how far the ingest is."""
        return await self._transport.send(_status(session_id))

    async def stats(self, session_id: str) -> models.Stats:
        """Return statistics over the rows, those of the session's type."""
        return await self._transport.send(_stats(session_id))

    async def query(self, session_id: str, prompt: str | None = None, **options: Any) -> models.Generated:
        """Ask a question; `options` are max_tokens, temperature, top_p, seed, stop, fast_answer, clear_after."""
        return await self._transport.send(_generate(session_id, prompt, stream=False, **options))

    def stream(self, session_id: str, prompt: str | None = None, **options: Any) -> AsyncGenerator[Piece, None]:
        """As `query`, piece by piece; the last one is the whole answer."""
        return self._transport.stream(_generate(session_id, prompt, stream=True, **options), _read_piece)

    async def flash(self, session_id: str, query: str, *, max_tokens: int | None = None) -> models.FlashRegistered:
        """Register a question that is answered after each update of the data."""
        return await self._transport.send(_flash(session_id, query, max_tokens))

    async def list_flash(self, session_id: str) -> models.FlashList:
        """List the flash queries and their answers."""
        return await self._transport.send(Call("GET", _on(session_id, "/flash"), models.FlashList))

    async def unflash(self, session_id: str, query_id: int) -> models.FlashDeleted:
        """Remove a flash query."""
        return await self._transport.send(Call("DELETE", _on(session_id, f"/flash/{query_id}"), models.FlashDeleted))

    def events(self, session_id: str) -> AsyncGenerator[Event, None]:
        """Yield what happens in the session, the current answers first."""
        return self._transport.stream(Call("GET", _on(session_id, "/events"), bytes), _read_event)


class AsyncLayerScale:
    """As `LayerScale`, for an event loop."""

    def __init__(
        self, base_url: str, *, api_key: str | None = None, timeout: httpx.Timeout | float | None = TIMEOUT
    ) -> None:
        self._transport = AsyncTransport(base_url, api_key=api_key, timeout=timeout)
        self.sessions = AsyncSessions(self._transport)

    async def health(self) -> models.Health:
        """As `LayerScale.health`."""
        return await self._transport.send(Call("GET", "/health", models.Health))

    async def models(self) -> models.ModelList:
        """Return the server's model."""
        return await self._transport.send(Call("GET", "/v1/models", models.ModelList))

    async def chat(self, messages: Sequence[Mapping[str, Any]], **options: Any) -> Completion:
        """As `LayerScale.chat`."""
        return await self._transport.send(_chat(messages, stream=False, **options))

    def chat_stream(self, messages: Sequence[Mapping[str, Any]], **options: Any) -> AsyncGenerator[Chunk, None]:
        """As `LayerScale.chat_stream`."""
        return self._transport.stream(_chat(messages, stream=True, **options), _read_chunk)

    async def close(self) -> None:
        """Close all connections."""
        await self._transport.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
