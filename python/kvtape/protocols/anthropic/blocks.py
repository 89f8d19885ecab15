"""The content blocks of a reply: as they come, and as they stand in the end."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from kvtape.protocols.anthropic.reply_models import (
    BlockDelta,
    BlockEvent,
    BlockStart,
    BlockStop,
    ContentBlock,
    Delta,
    InputJsonDelta,
    SignatureDelta,
    TextBlock,
    TextDelta,
    ThinkingBlock,
    ThinkingDelta,
    ToolUseBlock,
)
from kvtape.protocols.anthropic.thinking import sign
from kvtape.protocols.anthropic.tool_input import EscapeMender, close_json
from kvtape.types import ContentDelta, Event, ReasoningDelta, ToolCallArguments, ToolCallEnd, ToolCallStart

__all__ = ["BlockWriter", "join_blocks"]


class BlockWriter:
    """Turns the events of a reply into those of its blocks, which stand in the order in which they begin.

    A call's input is the beginning of a JSON object at any time: what follows where it stops to be one is left out.

    Args:
        make_id: makes the id of a call.
        shows_thinking: whether thinking blocks show their text, or only carry it in their signature.
    """

    def __init__(self, make_id: Callable[[], str], *, shows_thinking: bool = True) -> None:
        self.n_blocks = 0
        self._make_id = make_id
        self._shows_thinking = shows_thinking
        self._open: type[ContentBlock] | None = None
        self._thinking: list[str] = []
        self._mender = EscapeMender()

    def write(self, events: Iterable[Event]) -> list[BlockEvent]:
        """Return what these events add."""
        written: list[BlockEvent] = []
        for event in events:
            match event:
                case ReasoningDelta(text):
                    if self._open is not ThinkingBlock:
                        written += self._begin(ThinkingBlock("", ""))
                    self._thinking.append(text)
                    if self._shows_thinking:
                        written.append(self._delta(ThinkingDelta(text)))
                case ContentDelta(text):
                    if self._open is not TextBlock:
                        written += self._begin(TextBlock(""))
                    written.append(self._delta(TextDelta(text)))
                case ToolCallStart(_, name):
                    self._mender = EscapeMender()
                    written += self._begin(ToolUseBlock(self._make_id(), name, msgspec.Raw(b"{}")))
                case ToolCallArguments(_, text, broken):
                    if not broken and (mended := self._mender.feed(text)):
                        written.append(self._delta(InputJsonDelta(mended)))
                case ToolCallEnd():
                    written += self.end()
        return written

    def end(self) -> list[BlockEvent]:
        """End the block that is open, if one is."""
        if self._open is None:
            return []
        written: list[BlockEvent] = []
        if self._open is ThinkingBlock:
            written.append(self._delta(SignatureDelta(sign("".join(self._thinking), shown=self._shows_thinking))))
            self._thinking.clear()
        self._open = None
        return [*written, BlockStop(self.n_blocks - 1)]

    def _begin(self, block: ContentBlock) -> list[BlockEvent]:
        ending = self.end()
        self._open = type(block)
        self.n_blocks += 1
        return [*ending, BlockStart(self.n_blocks - 1, block)]

    def _delta(self, delta: Delta) -> BlockDelta:
        return BlockDelta(self.n_blocks - 1, delta)


def join_blocks(events: Iterable[BlockEvent]) -> list[ContentBlock]:
    """Add events up to the blocks of a plain reply, as the clients of a stream do.

    A call that was cut has the members of its input that are whole.
    """
    blocks: list[ContentBlock] = []
    pieces: list[list[str]] = []
    signatures: dict[int, str] = {}
    for event in events:
        match event:
            case BlockStart(_, block):
                blocks.append(block)
                pieces.append([])
            case BlockDelta(index, SignatureDelta(signature)):
                signatures[index] = signature
            case BlockDelta(index, TextDelta(text) | ThinkingDelta(text) | InputJsonDelta(text)):
                pieces[index].append(text)
    return [_whole(block, "".join(pieces[n]), signatures.get(n, "")) for n, block in enumerate(blocks)]


def _whole(block: ContentBlock, text: str, signature: str) -> ContentBlock:
    if isinstance(block, TextBlock):
        return TextBlock(text)
    if isinstance(block, ThinkingBlock):
        return ThinkingBlock(text, signature)
    return ToolUseBlock(block.id, block.name, msgspec.Raw(close_json(text).encode()))
