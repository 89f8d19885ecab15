"""Questions to a session, answered at once or as a stream."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from kvtape.protocols.layerscale import models
from kvtape.protocols.layerscale.codec import encode_frame
from kvtape.protocols.layerscale.generate import decode_generate
from kvtape.protocols.openai.errors import encode_error_event
from kvtape.protocols.openai.reply import encode_usage
from kvtape.protocols.sse import DONE
from kvtape.server.responses import EventStream, json_response, unless_gone
from kvtape.server.routes.common import SESSION, read_body, session_of
from kvtape.server.routes.flash_views import finite, set_odds
from kvtape.server.routes.session_chat import answer_chat
from kvtape.session.answer import Answer
from kvtape.session.session import Session

__all__ = ["ROUTES"]


async def generate(request: Request) -> Response:
    """Answer a question about the session's data, at once or as a stream."""
    session = session_of(request)
    call = decode_generate(await read_body(request), wire=session.spec.wire)
    if call.chat is not None:
        return await answer_chat(request, session, call.chat, call.params, stream=call.stream)
    shortcuts: dict[str, Any] = {
        "fast_answer": call.fast_answer,
        "candidates": call.candidates,
        "gap_threshold": call.gap_threshold,
        "thinking": call.thinking,
    }
    answer = session.try_answer(call.prompt, call.params, **shortcuts)  # spares two tasks
    if answer is None:
        question = session.ask(call.prompt, call.params, **shortcuts, keep_tail=not call.clear_after)
        answer = await unless_gone(request, question)
    if call.stream:
        end = DONE if session.spec.wire == 2 else b""  # clients of the first generation would take it for a frame
        return EventStream(
            _frames(session, answer, end),
            on_close=answer.close,
            encode_error=lambda error: encode_error_event(error) + end,
        )
    try:
        text, n_tokens = answer.text, 0
        if answer.turn is not None:
            events = await unless_gone(request, answer.collect())
            text, n_tokens = "".join(event.text for event in events), len(events)
    finally:
        answer.close()
        session.touch()
    return json_response(_describe(session, answer, text, n_tokens))


async def _frames(session: Session, answer: Answer, end: bytes) -> AsyncGenerator[bytes, None]:
    pieces: list[str] = []
    n_tokens = 0
    if answer.turn is None:
        pieces.append(answer.text)
        yield encode_frame(models.GenerateToken(answer.text, answer.text, session.n_tokens))
    else:
        async with aclosing(answer.events()) as events:
            async for event in events:
                if event.text:
                    pieces.append(event.text)
                    yield encode_frame(models.GenerateToken(event.text, event.text, answer.turn.start + n_tokens))
                n_tokens += 1
    answer.close()
    session.touch()
    final = _describe(session, answer, "".join(pieces), n_tokens)
    final.done = True
    yield encode_frame(final) + end


def _describe(session: Session, answer: Answer, text: str, n_tokens: int) -> models.Generated:
    """Describe a finished answer."""
    result = models.Generated(
        text=text,
        finish_reason="stop",
        n_tokens=n_tokens,
        total_tokens=session.n_tokens,
        pos_max=max(session.n_tokens - 1, 0),
        id=f"gen_{secrets.token_hex(12)}",
        session_id=session.id,
        data_version=answer.version,
        usage=models.GenerateUsage(0, 0),
    )
    if answer.cached is not None and answer.found is not None:
        result.finish_reason = str(answer.found.finish_reason)
        result.flash = True
        result.flash_id = answer.cached.id
        result.confidence = finite(answer.found.confidence)
        set_odds(result, answer.found)
    elif answer.speculative:
        result.speculative = True
        result.logit_gap = finite(answer.logit_gap or 0.0)
    elif answer.turn is not None and (last := answer.turn.finished) is not None and last.usage is not None:
        result.finish_reason = str(last.finish_reason)
        usage = encode_usage(last.usage)
        result.usage = models.GenerateUsage(
            usage.prompt_tokens, usage.completion_tokens, usage.total_tokens, usage.prompt_tokens_details
        )
    return result


ROUTES = [Route(f"{SESSION}/generate", generate, methods=["POST"])]
