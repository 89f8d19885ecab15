"""Calls about the server, and those that answer conversations and prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, Unpack
from urllib.parse import quote

import msgspec

from kvtape.client.call import Call, StreamCall
from kvtape.client.errors import error_in_stream
from kvtape.client.layerscale.options import ChatOptions, CompletionOptions, MessageOptions, PromptOptions
from kvtape.protocols.anthropic import reply_models
from kvtape.protocols.layerscale import models
from kvtape.protocols.openai.completions_models import TextCompletion
from kvtape.protocols.openai.models import Chunk, Completion
from kvtape.protocols.sse import SseEvent

__all__ = ["Message", "MessageEvent"]

T = TypeVar("T")

Message = Mapping[str, Any]
MessageEvent = (
    reply_models.MessageStart
    | reply_models.BlockStart
    | reply_models.BlockDelta
    | reply_models.BlockStop
    | reply_models.MessageDelta
    | reply_models.MessageStop
)
_MESSAGE_EVENTS = (
    "message_start",
    "content_block_start",
    "content_block_delta",
    "content_block_stop",
    "message_delta",
    "message_stop",
)


# -- the server --------------------------------------------------------------------------------------------------------


def health() -> Call[models.Health]:
    """Return the server's counters.

    Raises:
        Overloaded: it is not ready.
    """
    return Call("GET", "/health", models.Health)


def metrics() -> Call[str]:
    """Return the server's metrics, as Prometheus reads them."""
    return Call("GET", "/metrics", str)


def list_models() -> Call[models.ModelList]:
    """Return the server's model, in a list."""
    return Call("GET", "/v1/models", models.ModelList)


def retrieve_model(model_id: str) -> Call[models.Model]:
    """Return the server's model.

    Raises:
        NotFound: it runs another one.
    """
    return Call("GET", f"/v1/models/{quote(model_id, safe='')}", models.Model)


# -- conversations and prompts -----------------------------------------------------------------------------------------


def bound_to(session_id: str | None) -> dict[str, str]:
    """Return the header that makes a request a turn of a session."""
    return {} if session_id is None else {"x-layerscale-session-id": session_id}


def chat(
    messages: Sequence[Message], *, session_id: str | None = None, **options: Unpack[ChatOptions]
) -> Call[Completion]:
    """Answer a conversation; with `session_id` as a durable turn of that session."""
    body = {"messages": list(messages), **options, "stream": False}
    return Call("POST", "/v1/chat/completions", Completion, body, bound_to(session_id))


def chat_stream(
    messages: Sequence[Message], *, session_id: str | None = None, **options: Unpack[ChatOptions]
) -> StreamCall[Chunk]:
    """As `create`, chunk by chunk."""
    body = {"messages": list(messages), **options, "stream": True}
    return StreamCall("POST", "/v1/chat/completions", _read_chunk, is_done, body, bound_to(session_id))


def complete(prompt: str | Sequence[str], **options: Unpack[CompletionOptions]) -> Call[TextCompletion]:
    """Go on with a raw text, or with each of several."""
    return Call("POST", "/v1/completions", TextCompletion, {"prompt": prompt, **options, "stream": False})


def complete_stream(prompt: str | Sequence[str], **options: Unpack[CompletionOptions]) -> StreamCall[TextCompletion]:
    """As `create`, piece by piece."""
    body = {"prompt": prompt, **options, "stream": True}
    return StreamCall("POST", "/v1/completions", _read_text, is_done, body)


def message(
    messages: Sequence[Message], *, max_tokens: int, session_id: str | None = None, **options: Unpack[MessageOptions]
) -> Call[reply_models.Message]:
    """Answer a conversation in Anthropic's form; with `session_id` as a durable turn of that session."""
    body = {"messages": list(messages), "max_tokens": max_tokens, **options, "stream": False}
    return Call("POST", "/v1/messages", reply_models.Message, body, bound_to(session_id))


def message_stream(
    messages: Sequence[Message], *, max_tokens: int, session_id: str | None = None, **options: Unpack[MessageOptions]
) -> StreamCall[MessageEvent]:
    """As `create`, event by event."""
    body = {"messages": list(messages), "max_tokens": max_tokens, **options, "stream": True}
    return StreamCall("POST", "/v1/messages", _read_message_event, _is_message_stop, body, bound_to(session_id))


def count_tokens(messages: Sequence[Message], **options: Unpack[PromptOptions]) -> Call[reply_models.TokenCount]:
    """Count the tokens of the prompt that a message would have; nothing is generated."""
    body = {"messages": list(messages), **options}
    return Call("POST", "/v1/messages/count_tokens", reply_models.TokenCount, body)


# -- frames ------------------------------------------------------------------------------------------------------------


def is_done(frame: SseEvent) -> bool:
    """Whether a frame is the end mark of OpenAI's streams."""
    return frame.data == "[DONE]"


def read_object(frame: SseEvent, kind: type[T]) -> T | None:
    """Return the object in a frame, nothing for the end mark.

    Raises:
        KvtapeError: the frame is an error.
    """
    if is_done(frame):
        return None
    content = frame.data.encode()
    if "error" in (fields := msgspec.json.decode(content)):
        raise error_in_stream(content)
    return msgspec.convert(fields, kind)


def _read_chunk(frame: SseEvent) -> Chunk | None:
    return read_object(frame, Chunk)


def _read_text(frame: SseEvent) -> TextCompletion | None:
    return read_object(frame, TextCompletion)


def _read_message_event(frame: SseEvent) -> MessageEvent | None:
    if frame.event == "error":
        raise error_in_stream(frame.data.encode())
    if frame.event not in _MESSAGE_EVENTS:  # a ping, or what newer servers know
        return None
    event: MessageEvent = msgspec.json.decode(frame.data, type=MessageEvent)
    return event


def _is_message_stop(frame: SseEvent) -> bool:
    return frame.event == "message_stop"
