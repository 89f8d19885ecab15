"""Calls that ask sessions something: questions, turns of conversations, flash queries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack

import msgspec

from kvtape.client.call import Call, StreamCall
from kvtape.client.layerscale.calls import Message, is_done, read_object
from kvtape.client.layerscale.options import GenerateOptions, Object, ThinkingOptions
from kvtape.client.layerscale.session_calls import path_of
from kvtape.protocols.layerscale import models
from kvtape.protocols.sse import SseEvent

__all__ = ["Piece"]

Piece = models.GenerateToken | models.Generated


def _given(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def generate(
    session_id: str,
    prompt: str | None = None,
    *,
    messages: Sequence[Message] | None = None,
    tools: Sequence[Object] | None = None,
    **options: Unpack[GenerateOptions],
) -> Call[models.Generated]:
    """Ask a question, which leaves no trace, or go on with a conversation, which does; with neither, go on writing.

    Raises:
        ContextOverflow: the question does not fit.
        Conflict: another one is being answered.
    """
    body = {**_given(prompt=prompt, messages=messages, tools=tools), **options, "stream": False}
    return Call("POST", path_of(session_id, "/generate"), models.Generated, body)


def generate_stream(
    session_id: str,
    prompt: str | None = None,
    *,
    messages: Sequence[Message] | None = None,
    tools: Sequence[Object] | None = None,
    **options: Unpack[GenerateOptions],
) -> StreamCall[Piece]:
    """As `generate`, piece by piece; the last one, `Generated`, is the whole answer."""
    body = {**_given(prompt=prompt, messages=messages, tools=tools), **options, "stream": True}
    return StreamCall("POST", path_of(session_id, "/generate"), _read_piece, _is_answer, body)


def warm(
    session_id: str,
    messages: Sequence[Message],
    *,
    tools: Sequence[Object] | None = None,
    **options: Unpack[ThinkingOptions],
) -> Call[models.SessionWarm]:
    """Read a conversation ahead of the turn that will answer it.

    Raises:
        Conflict: a turn is being answered.
    """
    body = {"messages": list(messages), **_given(tools=tools), **options}
    return Call("POST", path_of(session_id, "/warm"), models.SessionWarm, body)


def _is_answer(frame: SseEvent) -> bool:
    return not is_done(frame) and msgspec.json.decode(frame.data).get("done") is True


def _read_piece(frame: SseEvent) -> Piece | None:
    if _is_answer(frame):
        return read_object(frame, models.Generated)
    return read_object(frame, models.GenerateToken)


# -- flash queries -----------------------------------------------------------------------------------------------------


def flash(
    session_id: str, query: str, *, max_tokens: int | None = None, choices: Sequence[str] | None = None
) -> Call[models.FlashRegistered]:
    """Register a question that is answered after each update of the data, with one of `choices` if there are any.

    Raises:
        Conflict: the session has it already, or as many as it may have.
    """
    body = _given(query=query, max_tokens=max_tokens, choices=choices)
    return Call("POST", path_of(session_id, "/flash"), models.FlashRegistered, body)


def list_flash(session_id: str) -> Call[models.FlashList]:
    """List the flash queries and their answers."""
    return Call("GET", path_of(session_id, "/flash"), models.FlashList)


def unflash(session_id: str, query_id: int) -> Call[models.FlashDeleted]:
    """Remove a flash query."""
    return Call("DELETE", path_of(session_id, f"/flash/{query_id}"), models.FlashDeleted)
