"""Messages."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator
from contextlib import aclosing

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from kvtape.chat.conversation import ChatTurn
from kvtape.chat.framing import common_prefix_len
from kvtape.chat.prompt import encode_chat, prepare_chat
from kvtape.errors import KvtapeError
from kvtape.model.load import Model
from kvtape.protocols.anthropic.codec import MessageCall, decode_count_request, decode_message_request
from kvtape.protocols.anthropic.errors import encode_error_event
from kvtape.protocols.anthropic.reply import PING, MessageEncoder, encode_count
from kvtape.protocols.requests import refuse_unless
from kvtape.protocols.sse import HEARTBEAT
from kvtape.server.reading import steps_for
from kvtape.server.responses import EventStream, json_response, request_id_of, unless_gone
from kvtape.server.routes.chat_turns import open_turn
from kvtape.server.routes.common import read_body, runtime_of
from kvtape.session.turns import SessionTurn
from kvtape.types import ReplyStep

__all__ = ["ROUTES"]

_VERSIONS = ("2023-06-01", "2026-10-21")  # the second takes less; what it refuses is honoured here under both


async def messages(request: Request) -> Response:
    """Answer a conversation, at once or as a stream."""
    _check_headers(request)
    engine = runtime_of(request).engine
    call = decode_message_request(await read_body(request))
    turn = await open_turn(request, call.prompt, call.params, session_id=call.session_id)
    pings = "anthropic-version" in request.headers  # LayerScale's clients do not send it, and raise at a ping
    encoder = MessageEncoder(
        message_id=f"msg_{secrets.token_hex(12)}",
        model=engine.model.name,
        max_tokens=call.params.max_tokens,
        pings=pings,
        shows_thinking=call.shows_thinking,
    )
    steps = steps_for(request, in_blocks=True)(turn)
    if call.stream:
        request_id = request_id_of(request.scope)
        return EventStream(
            _frames(engine.model, call, turn, steps, encoder),
            on_close=turn.close,
            opening=encoder.start(turn.start),
            heartbeat=PING if pings else HEARTBEAT,
            encode_error=lambda error: encode_error_event(error, request_id),
        )
    try:
        collected = await unless_gone(request, _collect(steps))
        n_marked = await _count_marked(engine.model, call, turn)
    finally:
        turn.close()
    return json_response(encoder.body(collected, n_marked=n_marked))


async def count_tokens(request: Request) -> Response:
    """Count the tokens of the prompt that the same request would run with."""
    _check_headers(request)
    engine = runtime_of(request).engine
    call = decode_count_request(await read_body(request))
    prepared = await asyncio.to_thread(prepare_chat, engine.model, call.prompt, call.params)
    return json_response(encode_count(len(prepared.token_ids)))


def _check_headers(request: Request) -> None:
    version = request.headers.get("anthropic-version")
    refuse_unless(
        version in (None, *_VERSIONS), "anthropic-version", f"must be {' or '.join(_VERSIONS)}, found {version!r:.40}"
    )


async def _collect(steps: AsyncGenerator[ReplyStep, None]) -> list[ReplyStep]:
    async with aclosing(steps):
        return [step async for step in steps]


async def _frames(
    model: Model, call: MessageCall, turn: ChatTurn, steps: AsyncGenerator[ReplyStep, None], encoder: MessageEncoder
) -> AsyncGenerator[bytes, None]:
    async with aclosing(steps):
        async for step in steps:
            if frames := encoder.step(step):
                yield frames
    yield encoder.finish(step, n_marked=await _count_marked(model, call, turn))


async def _count_marked(model: Model, call: MessageCall, turn: ChatTurn) -> int:
    """Count the prompt's tokens up to the last `cache_control`, by encoding it once more without what follows.

    There is nothing to count in a session, which keeps all of it, marked or not.
    """
    if call.marked is None or isinstance(turn, SessionTurn):
        return 0
    try:
        ids = await asyncio.to_thread(encode_chat, model, call.marked)
    except KvtapeError:  # the template insists on what follows the mark; the answer is there all the same
        return 0
    return common_prefix_len(turn.sequence.token_ids()[: turn.start], ids)


ROUTES = [
    Route("/v1/messages", messages, methods=["POST"]),
    Route("/v1/messages/count_tokens", count_tokens, methods=["POST"]),
]
