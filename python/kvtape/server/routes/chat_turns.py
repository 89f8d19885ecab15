"""Which session a chat request is a turn of, if any, whatever dialect it comes in."""

from __future__ import annotations

from starlette.requests import Request

from kvtape.chat.conversation import ChatTurn, open_chat
from kvtape.errors import InvalidRequest
from kvtape.protocols.requests import refuse_unless
from kvtape.server.responses import unless_gone
from kvtape.server.routes.common import runtime_of
from kvtape.session.session import Session
from kvtape.types import ChatPrompt, SamplingParams

__all__ = ["SESSION_HEADER", "bound_session", "open_turn"]

SESSION_HEADER = "x-layerscale-session-id"


def bound_session(request: Request, session_id: str | None) -> Session | None:
    """Return the session that the header or the body (`session_id`) names; being named restarts its clock of idleness.

    Raises:
        InvalidRequest: they name two, or the id is malformed.
        NotFound: there is no such session.
    """
    named = request.headers.get(SESSION_HEADER)
    if named is not None and session_id is not None and named != session_id:
        raise InvalidRequest(
            f"session_id is {session_id!r:.140}, the header {SESSION_HEADER} has another", param="session_id"
        )
    session_id = session_id if named is None else named
    if session_id is None:
        return None
    session = runtime_of(request).sessions.get(session_id)
    session.touch()
    return session


async def open_turn(
    request: Request, prompt: ChatPrompt, params: SamplingParams, *, session_id: str | None, n: int = 1
) -> ChatTurn:
    """Start a turn of a conversation: in its session, or on a sequence of its own.

    Raises:
        Conflict: the session is busy with another request.
        ContextOverflow: the conversation does not fit.
        InvalidRequest: the model or its template cannot take it, or more than one reply (`n`) is wanted of a session.
        NotFound: there is no such session.
    """
    session = bound_session(request, session_id)
    if session is None:
        return await open_chat(runtime_of(request).engine, prompt, params)
    refuse_unless(n == 1, "n", "must be 1 in a session, which goes on from the reply")
    return await unless_gone(request, session.chat(prompt, params))
