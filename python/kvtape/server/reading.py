"""What the client of a request can read of a reply: LayerScale's read less than others."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import replace
from functools import partial

from starlette.requests import Request

from kvtape.chat.conversation import ChatTurn
from kvtape.types import Event, ReasoningDelta, ReplyStep, ToolCallArguments

__all__ = ["steps_for"]

_LAYERSCALE = re.compile(r"layerscale-python/(\d+)\.(\d+)")


def steps_for(request: Request, *, in_blocks: bool = False) -> Callable[[ChatTurn], AsyncGenerator[ReplyStep, None]]:
    """Return how the steps of a turn are read for the client that sent a request.

    LayerScale's clients get the arguments of a call in one piece. Before 0.8 they raise at a block of thinking, so a
    reply `in_blocks` is given to them without.
    """
    sent_by = _LAYERSCALE.match(request.headers.get("user-agent", ""))
    if sent_by is None:
        return ChatTurn.steps
    return partial(_read, hides_reasoning=in_blocks and (int(sent_by[1]), int(sent_by[2])) < (0, 8))


async def _read(turn: ChatTurn, *, hides_reasoning: bool) -> AsyncGenerator[ReplyStep, None]:
    held: list[ToolCallArguments] = []  # of the call that is being written: what is JSON so far, and what is not
    async with aclosing(turn.steps()) as steps:
        async for step in steps:
            events: list[Event] = []
            for event in step.events:
                if isinstance(event, ToolCallArguments):
                    _join(held, event)
                elif not (hides_reasoning and isinstance(event, ReasoningDelta)):
                    events += [*held, event]
                    held.clear()
            if step.finish is not None:
                events += held
            yield replace(step, events=events)


def _join(held: list[ToolCallArguments], more: ToolCallArguments) -> None:
    if held and held[-1].broken == more.broken:
        held[-1] = replace(more, text=held[-1].text + more.text)
    else:
        held.append(more)
