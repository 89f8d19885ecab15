"""Messages."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator
from contextlib import aclosing

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from kvtape.chat.conversation import ChatTurn, open_chat
from kvtape.chat.framing import common_prefix_len
from kvtape.chat.prompt import encode_chat
from kvtape.errors import KvtapeError
from kvtape.protocols.anthropic.codec import (
    PING,
    Ending,
    MessageCall,
    MessageStreamEncoder,
    decode_count_request,
    decode_message_request,
    encode_count,
    encode_message,
)
from kvtape.protocols.anthropic.conversation import Prompt
from kvtape.protocols.anthropic.errors import encode_error_event
from kvtape.protocols.requests import refuse_unless
from kvtape.protocols.sse import HEARTBEAT
from kvtape.server.lifespan import Runtime
from kvtape.server.responses import EventStream, json_response, request_id_of, unless_gone
from kvtape.server.routes.common import read_body, runtime_of
from kvtape.types import ChatPrompt

__all__ = ["ROUTES"]

_VERSIONS = ("2023-06-01", "2026-10-21")  # the second takes less; what it refuses is honoured here under both


async def messages(request: Request) -> Response:
    """Answer a conversation, at once or as a stream."""
    _check_headers(request)
    runtime = runtime_of(request)
    engine = runtime.engine
    call = decode_message_request(await read_body(request))
    message_id, model = f"msg_{secrets.token_hex(12)}", engine.model.name
    turn = await open_chat(engine, _chat_prompt(call, call.prompt), call.params)
    if call.stream:
        pings = "anthropic-version" in request.headers  # LayerScale's clients do not send it, and raise at a ping
        encoder = MessageStreamEncoder(message_id=message_id, model=model, pings=pings)
        frames = _frames(runtime, call, turn, encoder, request_id_of(request.scope))
        return EventStream(frames, on_close=turn.close, heartbeat=PING if pings else HEARTBEAT)
    try:
        events = await unless_gone(request, turn.collect())
        ending = await _ending(runtime, call, turn)
    finally:
        turn.close()
    text = "".join(event.text for event in events)
    return json_response(encode_message(text, ending, message_id=message_id, model=model))


async def count_tokens(request: Request) -> Response:
    """Count the tokens of the prompt that the same request would run with."""
    _check_headers(request)
    engine = runtime_of(request).engine
    call = decode_count_request(await read_body(request))
    ids = await asyncio.to_thread(encode_chat, engine.model, _chat_prompt(call, call.prompt))
    return json_response(encode_count(len(ids)))


def _chat_prompt(call: MessageCall, prompt: Prompt) -> ChatPrompt:
    return ChatPrompt(messages=prompt.messages, prefill=prompt.prefill, template_options=call.template_options)


def _check_headers(request: Request) -> None:
    version = request.headers.get("anthropic-version")
    refuse_unless(
        version in (None, *_VERSIONS), "anthropic-version", f"must be {' or '.join(_VERSIONS)}, found {version!r:.40}"
    )
    name = "x-layerscale-session-id"
    refuse_unless(name not in request.headers, name, "is not supported by this server on messages")


async def _frames(
    runtime: Runtime, call: MessageCall, turn: ChatTurn, encoder: MessageStreamEncoder, request_id: str
) -> AsyncGenerator[bytes, None]:
    yield encoder.start(turn.start)
    try:
        async with aclosing(turn.events()) as events:
            async for event in events:
                if frames := encoder.text(event.text):
                    yield frames
        yield encoder.finish(await _ending(runtime, call, turn))
    except KvtapeError as error:
        yield encode_error_event(error, request_id)


async def _ending(runtime: Runtime, call: MessageCall, turn: ChatTurn) -> Ending:
    """Say how a turn ended that has ended."""
    last = turn.finished
    if last is None or last.finish_reason is None or last.usage is None:
        raise ValueError("the last event of a generation carries finish_reason and usage")
    return Ending(
        reason=last.finish_reason,
        usage=last.usage,
        stop_sequence=last.stop_string,
        max_tokens=call.params.max_tokens,
        n_marked=await _count_marked(runtime, call, turn),
    )


async def _count_marked(runtime: Runtime, call: MessageCall, turn: ChatTurn) -> int:
    """Count the prompt's tokens up to the last `cache_control`, by encoding it once more without what follows."""
    marked = call.prompt.marked
    if marked is None:
        return 0
    try:
        ids = await asyncio.to_thread(encode_chat, runtime.engine.model, _chat_prompt(call, marked))
    except KvtapeError:  # the template insists on what follows the mark; the answer is there all the same
        return 0
    return common_prefix_len(turn.sequence.token_ids()[: turn.start], ids)


ROUTES = [
    Route("/v1/messages", messages, methods=["POST"]),
    Route("/v1/messages/count_tokens", count_tokens, methods=["POST"]),
]
