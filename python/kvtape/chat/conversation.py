"""From messages to a running generation: render, encode, append, generate; the same for every dialect."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from kvtape.chat.template import template_of
from kvtape.errors import ContextOverflow, EngineFailed, InvalidRequest
from kvtape.types import FinishReason, SamplingParams, TokenEvent, WorkClass

if TYPE_CHECKING:
    from kvtape.engine import AsyncEngine, AsyncSequence
    from kvtape.engine.sequence import SequenceBase
    from kvtape.model.load import Model

__all__ = [
    "Framing",
    "Turn",
    "adds_bos",
    "begin_turn",
    "common_prefix_len",
    "encode_chat",
    "encode_prompt",
    "open_chat",
    "open_prompts",
    "rewrite",
]


def encode_chat(
    model: Model, messages: Sequence[Mapping[str, Any]], options: Mapping[str, Any] | None = None, prefill: str = ""
) -> list[int]:
    """Render messages with the model's template, ready for the assistant to speak, and encode them.

    Args:
        model: whose template and tokenizer are used.
        messages: what the template renders.
        options: further variables of the template.
        prefill: how the assistant's reply has begun already.

    Raises:
        InvalidRequest: the model has no chat template, or its template refuses these messages.
    """
    template = template_of(model)
    if template is None:
        raise InvalidRequest(f"model {model.name!r} has no chat template", param="messages")
    text = template.render(list(messages), add_generation_prompt=True, **(options or {}))
    return model.tokenizer.encode(text + prefill, parse_special=True)


class Turn:
    """One generation on a sequence of its own: iterate `events`, then `close` in any case.

    `events` may be left at any point; the generation is then cancelled within a step.
    """

    def __init__(self, sequence: AsyncSequence, params: SamplingParams, work: WorkClass) -> None:
        self.sequence = sequence
        self.start = sequence.n_tokens  # position of the first generated token
        self.finished: TokenEvent | None = None
        self._params = params
        self._work = work

    async def events(self) -> AsyncGenerator[TokenEvent, None]:
        """Yield the tokens as they come; the last one carries the finish reason and the usage.

        Raises:
            EngineFailed: the engine gave the generation up.
        """
        async with aclosing(self.sequence.generate(self._params, work=self._work)) as events:
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

    def fork(self, choice: int) -> Turn:
        """Return the same turn on a fork of the sequence, with the random numbers of another choice."""
        return Turn(self.sequence.fork(), replace(self._params, choice=choice), self._work)

    def close(self) -> None:
        """Give the sequence back; what still runs on it is cancelled."""
        self.sequence.close()


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


async def open_chat(
    engine: AsyncEngine,
    messages: Sequence[Mapping[str, Any]],
    params: SamplingParams,
    options: Mapping[str, Any] | None = None,
    prefill: str = "",
) -> Turn:
    """Start a chat turn on a new sequence; the engine finds the longest prefix it has already computed.

    Arguments as `encode_chat`.

    Raises:
        ContextOverflow: the conversation does not fit.
        InvalidRequest: the model or its template cannot take these messages.
    """
    _check_ids(engine.model, list(params.logit_bias), "logit_bias")  # before a stream has begun
    token_ids = await asyncio.to_thread(encode_chat, engine.model, messages, options, prefill)
    sequence = engine.open()
    try:
        return begin_turn(sequence, token_ids, params, limit=engine.n_ctx, param="messages")
    except BaseException:
        sequence.close()
        raise


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


def _check_ids(model: Model, token_ids: Sequence[int], param: str) -> None:
    for token_id in token_ids:
        if not 0 <= token_id < model.n_vocab:
            raise InvalidRequest(f"{param} has token id {token_id}, wanted 0 to {model.n_vocab - 1}", param=param)


async def open_prompts(
    engine: AsyncEngine, prompts: Sequence[str | Sequence[int]], params: SamplingParams
) -> list[Turn]:
    """Start a turn for each raw prompt, on sequences of their own.

    Raises:
        ContextOverflow: one does not fit.
        InvalidRequest: one is empty, or an id is outside the vocabulary.
    """
    _check_ids(engine.model, list(params.logit_bias), "logit_bias")
    encoded = await asyncio.to_thread(lambda: [encode_prompt(engine.model, prompt) for prompt in prompts])
    turns: list[Turn] = []
    try:
        for index, token_ids in enumerate(encoded):
            param = "prompt" if len(encoded) == 1 else f"prompt[{index}]"
            _check_ids(engine.model, token_ids, param)
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


class Framing:
    """How a session's texts are dressed, and their tokens.

    With a chat template and a system prompt the session opens with the template's system turn and each question is a
    user turn that asks for an answer; otherwise prompt and question are raw text. Rendering blocks: not for an event
    loop.

    Args:
        model: whose template and tokenizer are used.
        prompt: the system prompt, may be empty.
        now: Unix seconds, the template's clock, so that each rendering begins alike.
    """

    def __init__(self, model: Model, prompt: str, *, now: float) -> None:
        self._template = template_of(model)
        self._tokenizer = model.tokenizer
        self._now = now
        self._system = {"role": "system", "content": prompt}
        head = self._render_head() if prompt else None
        self.templated = head is not None
        self.head = prompt if head is None else head
        add_bos = self._tokenizer.add_bos and not self.templated  # a template writes the token itself
        self.head_ids = self._tokenizer.encode(self.head, parse_special=self.templated, add_bos=add_bos)

    def _render_head(self) -> str | None:
        if self._template is None:
            return None
        try:
            head = self._template.render([self._system], add_generation_prompt=False, now=self._now)
            whole = self._render_whole("question")
        except InvalidRequest:  # a template may refuse a lone system turn
            return None
        return head if whole.startswith(head) else None

    def _render_whole(self, question: str) -> str:
        assert self._template is not None
        messages = [self._system, {"role": "user", "content": question}]
        return self._template.render(messages, add_generation_prompt=True, now=self._now)

    def encode_question(self, question: str) -> list[int]:
        """Return the tokens that are appended to the session's context to ask `question`.

        Raises:
            InvalidRequest: the template or the tokenizer refuses it.
        """
        text = self._render_whole(question)[len(self.head) :] if self.templated else question
        return self._tokenizer.encode(text, parse_special=self.templated)

    def encode_text(self, text: str) -> list[int]:
        """Return the tokens of raw text."""
        return self._tokenizer.encode(text)


def rewrite(sequence: SequenceBase, token_ids: Sequence[int]) -> None:
    """Make `sequence` hold `token_ids`, keeping the longest prefix that it holds already.

    Raises:
        ContextOverflow: they do not fit.
    """
    held = sequence.token_ids()
    n_common = common_prefix_len(held, token_ids)
    if n_common < len(held):
        sequence.truncate(n_common)
    if n_common < len(token_ids):
        sequence.append(token_ids[n_common:])


def common_prefix_len(first: Sequence[int] | npt.NDArray[np.int32], second: Sequence[int]) -> int:
    """Return how many token ids two lists have in common before they differ."""
    n_compared = min(len(first), len(second))
    differs = np.flatnonzero(np.asarray(first[:n_compared]) != np.asarray(second[:n_compared]))
    return int(differs[0]) if len(differs) else n_compared
