"""Replies to encode: steps made by hand, a token a step."""

from __future__ import annotations

from dataclasses import replace

from kvtape.protocols.openai.models import Head
from kvtape.types import (
    ContentDelta,
    FinishReason,
    ReasoningDelta,
    ReplyFinish,
    ReplyStep,
    TokenEvent,
    ToolCallArguments,
    ToolCallEnd,
    ToolCallStart,
    Usage,
)

__all__ = ["CALLS", "CUT", "HEAD", "THOUGHT", "USAGE", "spell", "steps"]

HEAD = Head("chatcmpl-a1", 7, "m", "fp_1")
USAGE = Usage(prompt_tokens=9, completion_tokens=2, cached_tokens=4)


def spell(token_id):
    return b"%d" % token_id


def steps(*events, finish=ReplyFinish.STOP):
    """Return a step for each list of events; the tokens are counted from 1, with their log-probabilities."""
    made = [ReplyStep(TokenEvent(i, "", logprob=-float(i)), list(of_step)) for i, of_step in enumerate(events, 1)]
    made[-1].finish = finish
    reason = FinishReason.LENGTH if finish is ReplyFinish.LENGTH else FinishReason.STOP
    made[-1].token = TokenEvent(len(made), "", logprob=-float(len(made)), finish_reason=reason, usage=USAGE)
    return made


CALLS = steps(
    [],
    [ContentDelta("Let me ")],
    [ContentDelta("see.")],
    [],
    [ToolCallStart(0, "f")],
    [ToolCallArguments(0, '{"a"')],
    [ToolCallArguments(0, ": 1}"), ToolCallEnd(0)],
    [],
    [ToolCallStart(1, "g"), ToolCallArguments(1, "{}"), ToolCallEnd(1)],
    [],
    finish=ReplyFinish.TOOL_CALLS,
)
CUT = steps([ToolCallStart(0, "f")], [ToolCallArguments(0, '{"a"')], [], finish=ReplyFinish.LENGTH)

THOUGHT = steps([], [ReasoningDelta("I th")], [ReasoningDelta("ink")], [], [ContentDelta("so")], [])
for _step in THOUGHT[:4]:
    _step.token = replace(_step.token, in_reasoning=True)
