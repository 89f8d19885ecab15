"""Messages on the wire to the conversation that every dialect shares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from kvtape.errors import InvalidRequest
from kvtape.protocols.anthropic.models import Block, InputMessage, ToolInput
from kvtape.protocols.anthropic.thinking import read_signed
from kvtape.protocols.anthropic.turns import Turn, check_tool_blocks, plain_messages
from kvtape.types import ChatPrompt

__all__ = ["Conversation", "read_conversation"]

_ROLES = ("user", "assistant", "system")

# Blocks that may stand in a message of each role, and the fields that they must have.
_REQUIRED: dict[str, dict[str, tuple[str, ...]]] = {
    "system": {"text": ("text",)},
    "user": {"text": ("text",), "tool_result": ("tool_use_id",)},
    "assistant": {
        "text": ("text",),
        "thinking": ("thinking",),
        "redacted_thinking": (),
        "tool_use": ("id", "name", "input"),
    },
}


@dataclass(frozen=True, slots=True)
class Conversation:
    """What is said and with which tools, checked.

    Args:
        turns: the last one is of the assistant where its reply has begun already.
        n_tools: number of tools.
        n_marked_tools: of them at or before the last `cache_control` of a tool.
    """

    turns: Sequence[Turn]
    n_tools: int = 0
    n_marked_tools: int = 0

    def fill(self, prompt: ChatPrompt) -> ChatPrompt:
        """Return a prompt with the messages of this conversation."""
        continued = self.turns[-1].role == "assistant"
        return replace(
            prompt,
            messages=plain_messages(self.turns[:-1] if continued else self.turns),
            prefill=self.turns[-1].text if continued else "",
            tools=prompt.tools[: self.n_tools],
        )

    def marked(self) -> Conversation | None:
        """Return the conversation without what follows the last `cache_control`; None where none is set.

        The turns stay, without their blocks, because a template may insist on them. A mark that stands on a tool alone
        counts the system prompt in: which of the two stands first in the prompt is up to the template.
        """
        n_marked = max((index + 1 for index, turn in enumerate(self.turns) if turn.n_marked), default=0)
        if n_marked:
            last = self.turns[n_marked - 1]
            kept = [*self.turns[: n_marked - 1], replace(last, blocks=last.blocks[: last.n_marked])]
        elif self.n_marked_tools:
            kept = [turn for turn in self.turns[:1] if turn.role == "system"]
        else:
            return None
        emptied = [Turn(turn.role) for turn in self.turns[len(kept) :]]
        return Conversation([*kept, *emptied], self.n_tools if n_marked else self.n_marked_tools)


def read_conversation(
    system: str | list[Block] | None,
    messages: Sequence[InputMessage],
    tools: Sequence[ToolInput] | None = None,
    *,
    mark_last: bool = False,
) -> Conversation:
    """Read a conversation. Messages of one role in a row are one turn, and a last one of the assistant is continued.

    Earlier reasoning goes to the template, which knows whether its model wants to see it again; redacted reasoning
    cannot be read and is left out.

    Args:
        system: the system prompt.
        messages: the turns.
        tools: what may be called.
        mark_last: whether the last block counts as marked with `cache_control`.

    Raises:
        InvalidRequest: no message to answer, an unknown role, a block that is not understood, or a call without its
            result; `param` is its path.
    """
    turns: list[Turn] = []
    if system:
        turns.append(Turn("system"))
        _read_content(turns[0], system, "system")
    n_before = len(turns)
    for index, message in enumerate(messages):
        path = f"messages[{index}]"
        if message.role not in _ROLES:
            raise InvalidRequest(
                f"{path}.role must be user, assistant or system, found {message.role!r:.40}", param=f"{path}.role"
            )
        if len(turns) == n_before or turns[-1].role != message.role:
            turns.append(Turn(message.role))
        _read_content(turns[-1], message.content, f"{path}.content")
    if len(turns) == n_before or turns[n_before].role != "user":
        raise InvalidRequest("messages must begin with a message of the user", param="messages")
    check_tool_blocks(turns)
    if turns[-1].role == "assistant":
        _check_prefill(turns[-1], f"messages[{len(messages) - 1}].content")
    if mark_last:
        turns[-1].n_marked = len(turns[-1].blocks)
    n_marked_tools = max((n + 1 for n, tool in enumerate(tools or ()) if tool.cache_control is not None), default=0)
    return Conversation(turns, len(tools or ()), n_marked_tools)


def _check_prefill(turn: Turn, path: str) -> None:
    if turn.of_type("thinking"):
        raise InvalidRequest(f"{path} has reasoning, with which a reply cannot begin", param=path)
    if turn.text != turn.text.rstrip():
        raise InvalidRequest(f"{path}: what the reply begins with cannot end with whitespace", param=path)


def _read_content(turn: Turn, content: str | list[Block], path: str) -> None:
    if isinstance(content, str):
        turn.blocks.append(Block(text=content))
        turn.paths.append(path)
        return
    for index, block in enumerate(content):
        where = f"{path}[{index}]"
        _check_block(block, turn.role, where)
        if block.type == "thinking":
            block.thinking = read_signed(block.thinking or "", block.signature, where)
        turn.blocks.append(block)
        turn.paths.append(where)
        if block.cache_control is not None:
            turn.n_marked = len(turn.blocks)


def _check_block(block: Block, role: str, path: str) -> None:
    required = _REQUIRED[role].get(block.type)
    if required is None:
        raise InvalidRequest(f"{path} is a block of type {block.type!r:.40}, which is not supported here", param=path)
    for name in required:
        if getattr(block, name) is None:
            raise InvalidRequest(f"{path}.{name} is required", param=f"{path}.{name}")
    if block.type == "tool_result" and isinstance(block.content, list):
        for index, part in enumerate(block.content):
            where = f"{path}.content[{index}]"
            _check_block(part, "system", where)  # text alone
            if block.cache_control is None and part.cache_control is not None:
                block.cache_control = part.cache_control
