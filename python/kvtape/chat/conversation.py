"""From a request to a running generation: append, generate, cancel; the same for every dialect."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from copy import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Self

from kvtape.chat.prompt import PreparedChat, prepare_chat
from kvtape.chat.reply import count_broken_calls
from kvtape.engine.constraints import check_constraint
from kvtape.errors import ContextOverflow, EngineFailed, InvalidRequest
from kvtape.types import (
    ChatPrompt,
    Event,
    FinishReason,
    ParsedReply,
    ReplyFinish,
    ReplyStep,
    SamplingParams,
    TokenEvent,
    ToolCallEnd,
    Usage,
    WorkClass,
    gather,
)

if TYPE_CHECKING:
    from kvtape.engine import AsyncEngine, AsyncSequence
    from kvtape.model.load import Model

__all__ = ["ChatTurn", "Turn", "adds_bos", "begin_turn", "check_ids", "encode_prompt", "open_chat", "open_prompts"]


class Turn:
    """One generation on a sequence of its own: iterate `events`, then `close` in any case.

    `events` may be left at any point; the generation is then cancelled within a step.
    """

    def __init__(self, sequence: AsyncSequence, params: SamplingParams, work: WorkClass) -> None:
        self.sequence = sequence
        self.start = sequence.n_tokens  # position of the first generated token
        self.finished: TokenEvent | None = None
        self.params = params
        self.work = work

    async def events(self) -> AsyncGenerator[TokenEvent, None]:
        """Yield the tokens as they come; the last one carries the finish reason and the usage.

        Raises:
            EngineFailed: the engine gave the generation up.
        """
        async with aclosing(self.sequence.generate(self.params, work=self.work)) as events:
            async for event in events:
                if event.finish_reason in (FinishReason.CANCELLED, FinishReason.ERROR):
                    raise EngineFailed(f"the generation ended early: {event.finish_reason}")
                if event.finished:
                    self.finished = event
                yield event

    async def collect(self) -> list[TokenEvent]:
        """Run to the end and return every event."""
        async with aclosing(self.events()) as events:
            return [event async for event in events]

    def fork(self, choice: int) -> Self:
        """Return the same turn on a fork of the sequence, with the random numbers of another choice."""
        twin = copy(self)
        twin.sequence, twin.params = self.sequence.fork(), replace(self.params, choice=choice)
        return twin

    def close(self) -> None:
        """Give the sequence back; what still runs on it is cancelled."""
        self.sequence.close()


class ChatTurn(Turn):
    """A turn whose reply is taken apart as it comes: iterate `steps`, then `close` in any case."""

    def __init__(self, turn: Turn, prepared: PreparedChat) -> None:
        super().__init__(turn.sequence, turn.params, turn.work)
        self.prepared = prepared

    async def steps(self) -> AsyncGenerator[ReplyStep, None]:
        """Yield a step for each token; the last one says why the reply ended.

        A reply that may call only one tool ends with that call; what the model would have added is not generated.

        Raises:
            EngineFailed: the engine gave the generation up.
        """
        parser = self.prepared.make_parser()
        token_ids: list[int] = []
        seen: list[Event] = []
        calls_once = not self.prepared.prompt.tool_choice.parallel
        cached_tokens = 0
        finish: FinishReason | None = None
        async with aclosing(self.events()) as tokens:
            async for token in tokens:
                if not token_ids and token.usage is not None:
                    cached_tokens = token.usage.cached_tokens
                token_ids.append(token.token_id)
                step = ReplyStep(token, parser.feed(token.text))
                if calls_once and (end := _first_end(step.events)):
                    usage = Usage(self.start, len(token_ids), cached_tokens)
                    self.finished = replace(token, finish_reason=FinishReason.STOP, usage=usage)
                    step = ReplyStep(self.finished, step.events[:end], ReplyFinish.TOOL_CALLS)
                elif token.finish_reason is not None:
                    finish = token.finish_reason
                    held, step.finish = parser.finish(finish)
                    step.events += held
                seen += step.events
                if step.finish is not None:
                    break
                yield step
        reply = gather(seen)
        if finish is not FinishReason.LENGTH:  # what is cut off was not broken by the model
            count_broken_calls(self.prepared.model, sum(not call.complete for call in reply.tool_calls))
        await self.end(reply, token_ids, finish)
        yield step

    async def end(self, reply: ParsedReply, token_ids: Sequence[int], finish: FinishReason | None) -> None:
        """Take the finished reply, before its last step is told; `finish` is None where its first call ended it."""
        self.prepared.keep(reply, token_ids, finish)


def _first_end(events: Sequence[Event]) -> int:
    """Return how many events there are up to the end of the first call; 0 where none ends."""
    return next((n for n, event in enumerate(events, 1) if isinstance(event, ToolCallEnd)), 0)


def begin_turn(
    sequence: AsyncSequence,
    token_ids: Sequence[int],
    params: SamplingParams,
    *,
    limit: int,
    param: str,
    work: WorkClass = WorkClass.INTERACTIVE,
) -> Turn:
    """Append a prompt and prepare its generation, which keeps the sequence within `limit` tokens.

    Raises:
        ContextOverflow: the prompt leaves no room for a single token; `param` says where it came from.
        InvalidRequest: there is nothing to generate from.
    """
    n_tokens = sequence.n_tokens + len(token_ids)
    if n_tokens == 0:
        raise InvalidRequest(f"{param} is empty and so is the context", param=param)
    if n_tokens >= limit:
        raise ContextOverflow(
            f"{param} needs {n_tokens} tokens of context with what it builds on, at most {limit - 1} fit",
            param=param,
            n_tokens=n_tokens,
            limit=limit,
        )
    if token_ids:
        sequence.append(token_ids, work=work)
    room = limit - n_tokens
    capped = replace(params, max_tokens=room if params.max_tokens is None else min(params.max_tokens, room))
    return Turn(sequence, capped, work)


async def open_chat(engine: AsyncEngine, prompt: ChatPrompt, params: SamplingParams) -> ChatTurn:
    """Start a chat turn on a new sequence; the engine finds the longest prefix it has already computed.

    Raises:
        ContextOverflow: the conversation does not fit.
        InvalidRequest: the model or its template cannot take this request.
    """
    check_ids(engine.model, list(params.logit_bias), "logit_bias")  # before a stream has begun
    prepared = await asyncio.to_thread(prepare_chat, engine.model, prompt, params)
    sequence = engine.open()
    try:
        turn = begin_turn(sequence, prepared.token_ids, prepared.params, limit=engine.n_ctx, param="messages")
    except BaseException:
        sequence.close()
        raise
    return ChatTurn(turn, prepared)


def encode_prompt(model: Model, prompt: str | Sequence[int]) -> list[int]:
    """Return the tokens of a raw prompt: text, in which special tokens may be spelled out, or ids, which stay as given.

    Raises:
        InvalidRequest: the text has lone surrogates.
    """
    if not isinstance(prompt, str):
        return list(prompt)
    return model.tokenizer.encode(prompt, parse_special=True, add_bos=adds_bos(model, prompt))


def adds_bos(model: Model, prompt: str | Sequence[int]) -> bool:
    """Whether `encode_prompt` puts a BOS token before what is given: texts do not have to spell it, but may."""
    if not isinstance(prompt, str):
        return False
    return model.tokenizer.add_bos and not (model.bos_text and prompt.startswith(model.bos_text))


def check_ids(model: Model, token_ids: Sequence[int], param: str) -> None:
    """Check that the model has these tokens.

    Raises:
        InvalidRequest: it does not.
    """
    for token_id in token_ids:
        if not 0 <= token_id < model.n_vocab:
            raise InvalidRequest(f"{param} has token id {token_id}, wanted 0 to {model.n_vocab - 1}", param=param)


async def open_prompts(
    engine: AsyncEngine, prompts: Sequence[str | Sequence[int]], params: SamplingParams
) -> list[Turn]:
    """Start a turn for each raw prompt, on sequences of their own.

    Raises:
        ContextOverflow: one does not fit.
        InvalidRequest: one is empty, an id is outside the vocabulary, or the constraint cannot be enforced.
    """
    check_ids(engine.model, list(params.logit_bias), "logit_bias")
    encoded = await asyncio.to_thread(lambda: [encode_prompt(engine.model, prompt) for prompt in prompts])
    if params.constraint is not None:
        await asyncio.to_thread(check_constraint, engine.model, params.constraint)
    turns: list[Turn] = []
    try:
        for index, token_ids in enumerate(encoded):
            param = "prompt" if len(encoded) == 1 else f"prompt[{index}]"
            check_ids(engine.model, token_ids, param)
            sequence = engine.open()
            try:
                turns.append(begin_turn(sequence, token_ids, params, limit=engine.n_ctx, param=param))
            except BaseException:
                sequence.close()
                raise
    except BaseException:
        for turn in turns:
            turn.close()
        raise
    return turns
