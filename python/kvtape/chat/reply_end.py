"""Where a reply ends in a rendered conversation, and which of its ids show it.

Templates write an end token behind each reply, as the model did when it generated it. From there on the text of a
conversation can be encoded by itself, and be put behind the very ids that were generated.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from kvtape.errors import InvalidRequest
from kvtape.types import ChatPrompt, FinishReason, ParsedReply

if TYPE_CHECKING:
    from kvtape.model.tokenizer import Tokenizer

__all__ = ["Render", "ReplyEnds"]

Render = Callable[[ChatPrompt, bool], str]  # messages as text; whether the assistant is asked to speak


class ReplyEnds:
    """The ends of replies as one model's tokenizer writes them."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._texts = re.compile("|".join(re.escape(tokenizer.token_text(i)) for i in tokenizer.eos_ids) or "(?!)")

    def find(self, text: str, start: int = 0, end: int | None = None) -> int | None:
        """Return where the first end token's text is."""
        found = self._texts.search(text, start, len(text) if end is None else end)
        return found.start() if found else None

    def of_reply(self, prompt: ChatPrompt, n_messages: int, text: str, render: Render, asks: bool) -> int | None:
        """Return where the last of the first `n_messages`, a reply, ends: at the end token's text that follows it.

        None where the template writes no such thing. Nothing is asked of how it writes the reply itself, which it may
        trim or leave the reasoning out of: what follows the reply is what stays the same when the reply is another.

        Args:
            prompt: whose messages are rendered.
            n_messages: how many of them there are up to the reply.
            text: the prompt, rendered.
            render: what renders it.
            asks: whether `text` asks for an answer.
        """
        messages = list(prompt.messages)
        messages[n_messages - 1] = _another(messages[n_messages - 1])
        try:
            other = render(replace(prompt, messages=messages), asks)
        except InvalidRequest:
            return None
        return None if other == text else self.find(text, len(text) - _common_suffix_len(text, other))

    def without_end(self, generated_ids: Sequence[int]) -> list[int]:
        """Return the ids of a reply without its end token, if there is one."""
        ended = bool(generated_ids) and generated_ids[-1] in self._tokenizer.eos_ids
        return list(generated_ids[:-1] if ended else generated_ids)

    def shown_ids(
        self, reply: ParsedReply, generated_ids: Sequence[int], finish: FinishReason | None
    ) -> list[int] | None:
        """Return the ids of a reply without its end token, where they show just what its text and calls say.

        Not so: a reply that something else than an end token or its length ended, a call that is cut off, an end token
        inside, or ids that its text does not show. Reasoning is not looked at.
        """
        ids, eos_ids = list(generated_ids), self._tokenizer.eos_ids
        if finish is FinishReason.STOP and ids and ids[-1] in eos_ids:
            ids = self.without_end(ids)
        elif finish is not FinishReason.LENGTH:
            return None
        if not all(call.complete for call in reply.tool_calls) or not eos_ids.isdisjoint(ids):
            return None
        plain = not reply.tool_calls and reply.reasoning is None
        return None if plain and self._tokenizer.decode(ids).strip() != reply.content.strip() else ids


def _another(message: Mapping[str, Any]) -> dict[str, Any]:
    """A message that ends otherwise, whichever of its text and its calls the template shows."""
    content = message.get("content") or ""
    letter = "b" if content.rstrip().endswith("a") else "a"
    calls = [
        {**call, "function": {**call["function"], "name": call["function"]["name"] + letter}}
        for call in message.get("tool_calls") or ()
    ]
    return {**message, "content": content + letter, **({"tool_calls": calls} if calls else {})}


def _common_suffix_len(first: str, second: str) -> int:
    shortest, longest = 0, min(len(first), len(second))
    while shortest < longest:  # the comparison of slices is what is fast here
        middle = (shortest + longest + 1) // 2
        if first[len(first) - middle :] == second[len(second) - middle :]:
            shortest = middle
        else:
            longest = middle - 1
    return shortest
