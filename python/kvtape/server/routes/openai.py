"""Chat and raw completions."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Protocol, TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from kvtape.chat.choices import Choices, most_probable
from kvtape.chat.conversation import Turn, adds_bos, open_prompts
from kvtape.chat.scoring import score
from kvtape.protocols.openai.codec import decode_chat_request
from kvtape.protocols.openai.completions_codec import (
    CompletionsCall,
    Echo,
    TextStreamEncoder,
    decode_completions_request,
    encode_echo,
    encode_text_completion,
)
from kvtape.protocols.openai.errors import encode_error_event
from kvtape.protocols.openai.models import Head
from kvtape.protocols.openai.reply import encode_completion
from kvtape.protocols.openai.stream import ChatStreamEncoder
from kvtape.protocols.requests import refuse_unless
from kvtape.protocols.sse import DONE
from kvtape.server.lifespan import Runtime
from kvtape.server.reading import steps_for
from kvtape.server.responses import EventStream, json_response, unless_gone
from kvtape.server.routes.chat_turns import SESSION_HEADER, open_turn
from kvtape.server.routes.common import read_body, runtime_of
from kvtape.types import TokenEvent, Usage

__all__ = ["ROUTES"]

T = TypeVar("T")
T_in = TypeVar("T_in", contravariant=True)


async def chat_completions(request: Request) -> Response:
    """Answer a conversation, at once or as a stream."""
    runtime = runtime_of(request)
    call = decode_chat_request(await read_body(request))
    head = _head(runtime, "chatcmpl")
    token_bytes = runtime.token_bytes.__getitem__ if call.params.logprobs else None
    turn = await open_turn(request, call.prompt, call.params, session_id=call.session_id, n=call.n)
    choices = Choices([turn], steps_for(request), n=call.n)
    if call.stream:
        encoder = ChatStreamEncoder(
            head,
            call.form,
            n=call.n,
            reasons=turn.params.reasoning is not None,
            include_usage=call.include_usage,
            token_bytes=token_bytes,
        )
        return _stream(choices, encoder)
    steps = await _collect(request, choices)
    return json_response(encode_completion(steps, choices.usage, head, call.form, token_bytes=token_bytes))


async def completions(request: Request) -> Response:
    """Continue raw prompts, at once or as a stream."""
    refuse_unless(SESSION_HEADER not in request.headers, SESSION_HEADER, "does not go with raw completions")
    runtime = runtime_of(request)
    call = decode_completions_request(await read_body(request))
    head = _head(runtime, "cmpl")
    token_bytes = runtime.token_bytes.__getitem__ if call.logprobs else None
    turns = await open_prompts(runtime.engine, call.prompts, call.params)
    choices = Choices(turns, Turn.events, n=call.best_of)
    try:
        echoes = await unless_gone(request, _echoes(runtime, call, choices))
    except BaseException:
        choices.close()
        raise
    if call.stream:
        stream = TextStreamEncoder(head, echoes, include_usage=call.include_usage, token_bytes=token_bytes)
        return _stream(choices, stream)
    events = await _collect(request, choices)
    if call.best_of > call.n:
        of_prompts = [events[first : first + call.best_of] for first in range(0, len(events), call.best_of)]
        events = [chosen for candidates in of_prompts for chosen in most_probable(candidates, call.n)]
    usage = choices.usage
    if call.only_echo:  # one token was drawn nevertheless: the usage of a generation is that of its prompt, too
        events, usage = [[] for _ in events], replace(usage, completion_tokens=0)
    return json_response(encode_text_completion(events, echoes, usage, head, token_bytes=token_bytes))


async def _echoes(runtime: Runtime, call: CompletionsCall, choices: Choices[Turn, TokenEvent]) -> list[Echo]:
    """Return what each choice's text begins with."""
    if not call.echo:
        return [Echo()] * (len(call.prompts) * call.n)
    model = runtime.engine.model
    special = {token_id: text.encode() for text, token_id in model.tokenizer.special_tokens.items()}

    def shown(token_id: int) -> bytes:
        return special.get(token_id, runtime.token_bytes[token_id])

    echoes = []
    for prompt, turn in zip(call.prompts, choices.prompts, strict=True):
        text = prompt if isinstance(prompt, str) else model.tokenizer.decode(prompt, special=True)
        echo = Echo(text)
        if call.logprobs:
            scores = await score(turn.sequence, top_logprobs=call.params.top_logprobs)
            scores = scores[adds_bos(model, prompt) :]
            spelled = b"".join(shown(event.token_id) for event in scores)
            echo = encode_echo(text, scores, shown, is_prefixed=spelled == b" " + text.encode())
        echoes += [echo] * call.n
    return echoes


def _head(runtime: Runtime, kind: str) -> Head:
    return Head(f"{kind}-{secrets.token_hex(12)}", int(time.time()), runtime.engine.model.name, runtime.fingerprint)


async def _collect(request: Request, choices: Choices[Any, T]) -> list[list[T]]:
    try:
        return await unless_gone(request, choices.collect())
    finally:
        choices.close()


class _Encoder(Protocol[T_in]):
    def start(self) -> bytes: ...
    def event(self, index: int, event: T_in) -> bytes: ...
    def end(self, usage: Usage) -> bytes: ...


def _stream(choices: Choices[Any, T], encoder: _Encoder[T]) -> EventStream:
    return EventStream(
        _frames(choices, encoder), on_close=choices.close, encode_error=lambda error: encode_error_event(error) + DONE
    )


async def _frames(choices: Choices[Any, T], encoder: _Encoder[T]) -> AsyncGenerator[bytes, None]:
    started = False
    async with aclosing(choices.items()) as events:
        async for index, event in events:
            if not started:  # nothing is sent while the prompt is being prefilled
                started = True
                if frames := encoder.start():
                    yield frames
            if frames := encoder.event(index, event):
                yield frames
    yield encoder.end(choices.usage) + DONE


ROUTES = [
    Route("/v1/chat/completions", chat_completions, methods=["POST"]),
    Route("/v1/completions", completions, methods=["POST"]),
]
