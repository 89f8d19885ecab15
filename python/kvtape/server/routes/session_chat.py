"""Conversations by the routes of sessions: turns that are computed ahead, and turns as clients of the first generation
take them.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator
from contextlib import aclosing

from msgspec import UNSET
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from kvtape.protocols.layerscale import models
from kvtape.protocols.layerscale.codec import encode_frame
from kvtape.protocols.layerscale.warm import decode_warm
from kvtape.protocols.openai.errors import encode_error_event
from kvtape.protocols.openai.models import CalledFunction, OutputToolCall
from kvtape.protocols.openai.reply import encode_usage
from kvtape.server.responses import EventStream, json_response, unless_gone
from kvtape.server.routes.common import SESSION, read_body, session_of
from kvtape.session.session import Session
from kvtape.session.turns import SessionTurn
from kvtape.types import ChatPrompt, ContentDelta, ReplyStep, SamplingParams, ToolCallStart, gather

__all__ = ["ROUTES", "answer_chat"]


async def warm(request: Request) -> Response:
    """Compute the prompt of the session's next turn ahead."""
    session = session_of(request)
    prompt = decode_warm(await read_body(request))
    warmed = await unless_gone(request, session.warm(prompt))
    result = models.SessionWarm(
        id=f"warm_{secrets.token_hex(12)}",
        session_id=session.id,
        finish_reason=warmed.finish.value,
        prompt_tokens=warmed.n_prompt,
        cached_tokens=warmed.n_held + warmed.n_found,
        prefix_cached_tokens=warmed.n_found,
        data_version=warmed.version,
    )
    return json_response(result)


async def answer_chat(
    request: Request, session: Session, prompt: ChatPrompt, params: SamplingParams, *, stream: bool
) -> Response:
    """Answer a turn of a conversation, at once or as a stream; it becomes part of the session's context."""
    turn = await unless_gone(request, session.chat(prompt, params))
    if stream:
        return EventStream(_frames(session, turn), on_close=turn.close, encode_error=encode_error_event)
    try:
        steps = await unless_gone(request, _collect(turn))
    finally:
        turn.close()
    return json_response(_describe(session, steps))


async def _collect(turn: SessionTurn) -> list[ReplyStep]:
    async with aclosing(turn.steps()) as steps:
        return [step async for step in steps]


async def _frames(session: Session, turn: SessionTurn) -> AsyncGenerator[bytes, None]:
    taken: list[ReplyStep] = []
    async with aclosing(turn.steps()) as steps:
        async for step in steps:
            position = turn.start + len(taken)
            taken.append(step)
            if any(isinstance(event, ToolCallStart) for event in step.events):
                yield encode_frame(models.GenerateToken("", "", position, tool_call=True))
            text = "".join(event.text for event in step.events if isinstance(event, ContentDelta))
            if text:
                yield encode_frame(models.GenerateToken(text, text, position))
    final = _describe(session, taken)
    final.done = True
    yield encode_frame(final)


def _describe(session: Session, steps: list[ReplyStep]) -> models.Generated:
    last = steps[-1]
    assert last.token.usage is not None
    reply = gather(event for step in steps for event in step.events)
    usage = encode_usage(last.token.usage)
    number = secrets.token_hex(12)
    calls = [
        OutputToolCall(f"call_{number}_{index}", CalledFunction(call.name, call.arguments))
        for index, call in enumerate(reply.tool_calls)
    ]
    return models.Generated(
        text=reply.content,
        finish_reason=str(last.finish),
        n_tokens=len(steps),
        total_tokens=session.n_tokens,
        pos_max=session.n_tokens - 1,
        id=f"gen_{number}",
        session_id=session.id,
        data_version=session.version,
        usage=models.GenerateUsage(
            usage.prompt_tokens, usage.completion_tokens, usage.total_tokens, usage.prompt_tokens_details
        ),
        tool_calls=calls or UNSET,
    )


ROUTES = [Route(f"{SESSION}/warm", warm, methods=["POST"])]
