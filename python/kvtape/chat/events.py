"""What a reply is made of: the events every parser of this layer yields, and the reply they add up to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

__all__ = [
    "ContentDelta",
    "Event",
    "ParsedReply",
    "ReasoningDelta",
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
