"""Chat completions."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from kvtape.chat.conversation import Turn, open_chat
from kvtape.errors import InvalidRequest, KvtapeError
from kvtape.protocols.openai.codec import ChatStreamEncoder, decode_chat_request, encode_completion
from kvtape.protocols.openai.errors import encode_error_event
from kvtape.protocols.sse import DONE
from kvtape.server.responses import EventStream, json_response, unless_gone
from kvtape.server.routes.common import read_body, runtime_of

__all__ = ["ROUTES"]


async def chat_completions(request: Request) -> Response:
    """Answer a conversation, at once or as a stream."""
    runtime = runtime_of(request)
    engine = runtime.engine
    call = decode_chat_request(await read_body(request))
    if "x-layerscale-session-id" in request.headers:
        raise InvalidRequest(
            "x-layerscale-session-id is not supported by this server on chat completions",
            param="x-layerscale-session-id",
        )
    completion_id, created, model = f"chatcmpl-{secrets.token_hex(12)}", int(time.time()), engine.model.name
    token_bytes = runtime.token_bytes.__getitem__ if call.params.logprobs else None
    turn = await open_chat(engine, call.messages, call.params, call.template_options)
    if call.stream:
        encoder = ChatStreamEncoder(
            completion_id=completion_id,
            created=created,
            model=model,
            include_usage=call.include_usage,
            token_bytes=token_bytes,
        )
        return EventStream(_frames(turn, encoder), on_close=turn.close)
    try:
        events = await unless_gone(request, turn.collect())
    finally:
        turn.close()
    return json_response(
        encode_completion(events, completion_id=completion_id, created=created, model=model, token_bytes=token_bytes)
    )


async def _frames(turn: Turn, encoder: ChatStreamEncoder) -> AsyncGenerator[bytes, None]:
    started = False
    try:
        async with aclosing(turn.events()) as events:
            async for event in events:
                if not started:  # nothing is sent while the prompt is being prefilled
                    started = True
                    yield encoder.start()
                if frame := encoder.token(event):
                    yield frame
                if event.finish_reason is not None and event.usage is not None:
                    yield encoder.finish(event.finish_reason, event.usage)
    except KvtapeError as error:
        yield encode_error_event(error)
    yield DONE


ROUTES = [Route("/v1/chat/completions", chat_completions, methods=["POST"])]
