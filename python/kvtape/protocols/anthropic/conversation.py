"""Messages on the wire to the plain dictionaries a chat template renders."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from kvtape.errors import InvalidRequest
from kvtape.protocols.anthropic.models import Block, InputMessage

__all__ = ["Prompt", "read_prompt"]

_ROLES = ("user", "assistant")


@dataclass(frozen=True, slots=True)
class Prompt:
    """A conversation, checked.

    Args:
        messages: what a chat template renders.
        prefill: how the reply has begun already.
        marked: the same without any text that follows the last `cache_control`; None where none is set.
    """

    messages: list[dict[str, Any]]
    prefill: str = ""
    marked: Prompt | None = None


@dataclass(slots=True)
class _Turn:
    """Texts of one role in a row; `n_marked` of them stand at or before the last `cache_control`."""

    role: str
    texts: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    n_marked: int = 0

    @property
    def text(self) -> str:
        return "\n".join(self.texts)  # blocks and messages are paragraphs: the wire does not say what separates them

    def plain(self) -> dict[str, Any]:
        reasoning = {"reasoning_content": "\n".join(self.reasoning)} if self.reasoning else {}
        return {"role": self.role, "content": self.text, **reasoning}


def read_prompt(system: str | list[Block] | None, messages: list[InputMessage], *, mark_last: bool = False) -> Prompt:
    """Read a conversation. Messages of one role in a row are one turn, and a last one of the assistant is continued.

    Earlier reasoning goes to the template, which knows whether its model wants to see it again; redacted reasoning
    cannot be read and is left out.

    Args:
        system: the system prompt.
        messages: the turns.
        mark_last: whether the last block counts as marked with `cache_control`.

    Raises:
        InvalidRequest: no message to answer, an unknown role, or a block that is not understood; `param` is its path.
    """
    turns: list[_Turn] = []
    if system:
        turns.append(_Turn("system"))
        _read_content(turns[0], system, "system")
    n_before = len(turns)
    for index, message in enumerate(messages):
        path = f"messages[{index}]"
        if message.role not in _ROLES:
            hint = "; the system prompt is the field system" if message.role == "system" else ""
            raise InvalidRequest(
                f"{path}.role must be user or assistant, found {message.role!r:.40}{hint}", param=f"{path}.role"
            )
        if len(turns) == n_before or turns[-1].role != message.role:
            turns.append(_Turn(message.role))
        _read_content(turns[-1], message.content, f"{path}.content")
    if len(turns) == n_before or turns[n_before].role != "user":
        raise InvalidRequest("messages must begin with a message of the user", param="messages")
    if turns[-1].role == "assistant":
        _check_prefill(turns[-1], f"messages[{len(messages) - 1}].content")
    if mark_last:
        turns[-1].n_marked = len(turns[-1].texts)
    n_marked = max((index + 1 for index, turn in enumerate(turns) if turn.n_marked), default=0)
    return _prompt(turns, _prompt(_cut(turns, n_marked)) if n_marked else None)


def _prompt(turns: list[_Turn], marked: Prompt | None = None) -> Prompt:
    continued = turns[-1].role == "assistant"
    return Prompt(
        [turn.plain() for turn in (turns[:-1] if continued else turns)], turns[-1].text if continued else "", marked
    )


def _cut(turns: list[_Turn], n_marked: int) -> list[_Turn]:
    """Empty what follows the mark; the turns stay, because a template may insist on them."""
    last = turns[n_marked - 1]
    return [
        *turns[: n_marked - 1],
        replace(last, texts=last.texts[: last.n_marked]),
        *(_Turn(turn.role) for turn in turns[n_marked:]),
    ]


def _check_prefill(turn: _Turn, path: str) -> None:
    if turn.reasoning:
        raise InvalidRequest(f"{path} has reasoning, with which a reply cannot begin", param=path)
    if turn.text != turn.text.rstrip():
        raise InvalidRequest(f"{path}: what the reply begins with cannot end with whitespace", param=path)


def _read_content(turn: _Turn, content: str | list[Block], path: str) -> None:
    if isinstance(content, str):
        turn.texts.append(content)
        return
    for index, block in enumerate(content):
        where = f"{path}[{index}]"
        if block.type == "text":
            turn.texts.append(_required(block.text, f"{where}.text"))
        elif block.type == "thinking" and turn.role == "assistant":
            turn.reasoning.append(_required(block.thinking, f"{where}.thinking"))
        elif block.type != "redacted_thinking" or turn.role != "assistant":
            raise InvalidRequest(
                f"{where} is a block of type {block.type!r:.40}, which is not supported here", param=where
            )
        if block.cache_control is not None:
            turn.n_marked = len(turn.texts)


def _required(value: str | None, path: str) -> str:
    if value is None:
        raise InvalidRequest(f"{path} is required", param=path)
    return value
