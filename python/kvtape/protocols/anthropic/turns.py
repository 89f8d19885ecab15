"""The turns of a conversation: their blocks, what of them stands where, and the messages that templates render."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from kvtape.errors import InvalidRequest
from kvtape.protocols.anthropic.models import Block

__all__ = ["Turn", "check_tool_blocks", "plain_messages"]


@dataclass(slots=True)
class Turn:
    """Blocks of one role in a row; `n_marked` of them stand at or before the last `cache_control`."""

    role: str
    blocks: list[Block] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)  # of the blocks, in the request
    n_marked: int = 0

    @property
    def text(self) -> str:
        """Text of the turn. Blocks and messages are paragraphs: the wire does not say what separates them.

        But text before and behind a call has been one text, which the reply's blocks took apart.
        """
        parts: list[list[str]] = [[]]
        for block in self.blocks:
            if block.type == "tool_use":
                parts.append([])
            elif block.type == "text":
                parts[-1].append(block.text or "")
        return "".join("\n".join(texts) for texts in parts)

    def of_type(self, kind: str) -> list[Block]:
        """Return the blocks of a type."""
        return [block for block in self.blocks if block.type == kind]


def check_tool_blocks(turns: Sequence[Turn]) -> None:
    """Check that each call has its result, and each result its call, in the turn before.

    Raises:
        InvalidRequest: naming the block.
    """
    seen: set[str] = set()
    for before, turn in pairwise([Turn("user"), *turns, Turn("user")]):
        open_calls = {str(block.id): path for block, path in _located(before, "tool_use")}
        for block, path in _located(turn, "tool_use"):
            if block.id in seen:
                raise InvalidRequest(
                    f"{path}.id: tool_use ids must be unique, found {block.id!r:.80} again", param=f"{path}.id"
                )
            seen.add(str(block.id))
        for block, path in _located(turn, "tool_result"):
            if open_calls.pop(str(block.tool_use_id), None) is None:
                raise InvalidRequest(
                    f"{path}.tool_use_id {block.tool_use_id!r:.80} is of no tool_use block in the previous message, or "
                    "of one that has its tool_result already",
                    param=f"{path}.tool_use_id",
                )
        if open_calls:
            call, path = next(iter(open_calls.items()))
            raise InvalidRequest(
                f"{path}: the tool_use block {call!r:.80} has no tool_result block in the next message", param=path
            )
        kinds = [block.type for block in turn.blocks]
        n_results = kinds.count("tool_result")
        if "tool_result" in kinds[n_results:]:
            first = next(path for block, path in zip(turn.blocks, turn.paths, strict=True) if block.type == "text")
            raise InvalidRequest(f"{first}: tool_result blocks must stand first in a message", param=first)


def _located(turn: Turn, kind: str) -> list[tuple[Block, str]]:
    return [(block, path) for block, path in zip(turn.blocks, turn.paths, strict=True) if block.type == kind]


def plain_messages(turns: Sequence[Turn]) -> list[dict[str, Any]]:
    """Return the messages of a `ChatPrompt`; the results of a user turn become messages of their own."""
    messages: list[dict[str, Any]] = []
    names: dict[str | None, str | None] = {}  # of the tools that were called, by the id of the call
    for turn in turns:
        results = [_result(block, names.get(block.tool_use_id)) for block in turn.of_type("tool_result")]
        messages += results
        if results and len(results) == len(turn.blocks):
            continue
        message: dict[str, Any] = {"role": turn.role, "content": turn.text}
        if reasoning := turn.of_type("thinking"):
            message["reasoning_content"] = "\n".join(block.thinking or "" for block in reasoning)
        if calls := turn.of_type("tool_use"):
            names |= {block.id: block.name for block in calls}
            message["tool_calls"] = [_call(block) for block in calls]
        messages.append(message)
    return messages


def _call(block: Block) -> dict[str, Any]:
    # As models write it and templates do: a blank behind colon and comma, the keys in their order.
    arguments = json.dumps(block.input, ensure_ascii=False)
    return {"id": block.id, "type": "function", "function": {"name": block.name, "arguments": arguments}}


def _result(block: Block, name: str | None) -> dict[str, Any]:
    content = block.content or ""
    text = content if isinstance(content, str) else "\n".join(part.text or "" for part in content)
    if block.is_error and not text.lower().startswith("error"):
        text = f"Error: {text}"  # templates know no failed call, so its text has to say it
    return {"role": "tool", "content": text, "tool_call_id": block.tool_use_id, **({"name": name} if name else {})}
