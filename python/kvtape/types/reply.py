"""What a reply is made of, in every chat dialect: the events it is taken apart into, and what they add up to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from kvtape.types.events import TokenEvent

__all__ = [
    "ContentDelta",
    "Event",
    "ParsedReply",
    "ReasoningDelta",
    "ReplyFinish",
    "ReplyStep",
    "ToolCall",
    "ToolCallArguments",
    "ToolCallEnd",
    "ToolCallStart",
    "gather",
]

# One or more of these for each piece of text: not frozen, which would cost more than the parsing of a short piece.


@dataclass(slots=True)
class ContentDelta:
    """Text of the answer."""

    text: str


@dataclass(slots=True)
class ReasoningDelta:
    """Text of the reasoning, without its markers."""

    text: str


@dataclass(slots=True)
class ToolCallStart:
    """The model calls a tool; calls are counted from 0."""

    index: int
    name: str


@dataclass(slots=True)
class ToolCallArguments:
    """More of a call's arguments, as JSON text."""

    index: int
    text: str
    broken: bool = False  # no JSON object begins with the arguments so far


@dataclass(slots=True)
class ToolCallEnd:
    """The call's arguments are a whole JSON object. A call without this event was cut off or is not JSON."""

    index: int


Event = ContentDelta | ReasoningDelta | ToolCallStart | ToolCallArguments | ToolCallEnd


@dataclass(slots=True)
class ToolCall:
    """A call with all of its arguments; `complete` says whether they are a JSON object."""

    name: str
    arguments: str = ""
    complete: bool = False


@dataclass(slots=True)
class ParsedReply:
    """A reply, taken apart; `reasoning` is None where the model did not reason."""

    content: str = ""
    reasoning: str | None = None
    tool_calls: list[ToolCall] = field(default_factory=list)


class ReplyFinish(StrEnum):
    """Why a reply ended, in the words that chat dialects share."""

    STOP = "stop"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"


@dataclass(slots=True)
class ReplyStep:
    """One token of a reply, and what it adds: nothing, where text is held back, or several events."""

    token: TokenEvent
    events: list[Event]
    finish: ReplyFinish | None = None  # on the last step; its token carries the usage


def gather(events: Iterable[Event]) -> ParsedReply:
    """Add events up to the reply that they stream."""
    content: list[str] = []
    reasoning: list[str] = []
    calls: list[ToolCall] = []
    arguments: list[list[str]] = []
    for event in events:
        match event:
            case ContentDelta(text):
                content.append(text)
            case ReasoningDelta(text):
                reasoning.append(text)
            case ToolCallStart(_, name):
                calls.append(ToolCall(name))
                arguments.append([])
            case ToolCallArguments(index, text):
                arguments[index].append(text)
            case ToolCallEnd(index):
                calls[index].complete = True
    for call, pieces in zip(calls, arguments, strict=True):
        call.arguments = "".join(pieces)
    return ParsedReply("".join(content), "".join(reasoning) if reasoning else None, calls)
