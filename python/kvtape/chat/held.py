"""The part of a conversation that a context holds already, and what a request adds to it.

Chat clients resend their whole conversation with each turn. A context that holds the turns so far, perhaps with data
between them, takes in only what is new: the messages behind the last one it holds, as the template writes them there.

A turn is known by its messages. What the context holds of it stays as it is, also where the template would write it
otherwise by now: it keeps reasoning that templates leave out later. But a conversation whose tools or options have
changed, so that it begins otherwise than it did, is a new one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from kvtape.chat.reply_end import Render, ReplyEnds
from kvtape.chat.sameness import canonical, digest
from kvtape.errors import InvalidRequest
from kvtape.types import ChatPrompt, FinishReason, ParsedReply, ToolCall, ToolMode

if TYPE_CHECKING:
    from kvtape.model.load import Model

__all__ = ["HeldPrompt", "HeldTurn", "HeldTurns", "Opening"]


@dataclass(frozen=True, slots=True)
class Opening:
    """What stands before a conversation, in the same context.

    Args:
        text: a system turn of the chat template or, where `system` is None, text of any kind.
        token_ids: of the text.
        system: the message that the text shows; a request may repeat it or leave it out.
        alone: whether nothing else stands before the conversation, and the text may be written otherwise.
    """

    text: str
    token_ids: Sequence[int]
    system: str | None = None
    alone: bool = True


@dataclass(frozen=True, slots=True)
class Beginning:
    """How a conversation begins: with these tools and options, and with this text up to its first reply."""

    settings: bytes
    text_len: int | None  # None where the template does not render it
    text_hash: bytes

    def is_of(self, settings: bytes, text: str) -> bool:
        """Whether a conversation of these settings, rendered as `text`, begins so."""
        if settings == self.settings:
            return True
        return self.text_len is not None and digest(text[: self.text_len]) == self.text_hash


@dataclass(frozen=True, slots=True)
class HeldTurn:
    """A finished turn: new messages and the reply to them, as they stand in a context.

    Args:
        token_ids: of all of it, up to what the template writes behind the reply.
        messages: those before the reply, canonical.
        replies: the forms in which a request may repeat the reply.
        closing: what the template writes behind the reply, as text and as ids.
        beginning: what tells this conversation from one with other tools or options.
    """

    token_ids: list[int]
    messages: tuple[str, ...]
    replies: frozenset[str]
    closing: tuple[str, list[int]]
    beginning: Beginning

    def __len__(self) -> int:
        return len(self.messages) + 1

    def cut(self, n_tokens: int) -> HeldTurn:
        """Return the turn with at most so many tokens: without what is behind the reply, where that does not fit."""
        if len(self.token_ids) <= n_tokens:
            return self
        n_reply = len(self.token_ids) - len(self.closing[1])
        return replace(self, token_ids=self.token_ids[: min(n_reply, n_tokens)], closing=("", []))

    def matches(self, messages: Sequence[str]) -> bool:
        """Whether these messages are those of the turn."""
        return tuple(messages[:-1]) == self.messages and messages[-1] in self.replies


@dataclass(frozen=True, slots=True)
class HeldPrompt:
    """What a request adds to a context.

    Args:
        prompt: the request; its messages begin with the opening's, if that is a message.
        text: the whole conversation, rendered.
        token_ids: what is to be appended behind the turns that stay.
        n_kept: turns that stay, of those that are held; the others are no part of this conversation.
        opening: what is to stand in the place of the opening, where that has to be written otherwise.
    """

    prompt: ChatPrompt
    text: str
    token_ids: list[int]
    n_kept: int
    opening: Opening
    behind: tuple[str, list[int]]  # what the new part stands behind, as far as it counts for its ids
    rest: str  # the new part of the text, without the beginning of the reply
    render: Render


class HeldTurns:
    """The turns that a context holds, for one request to go on from.

    Args:
        model: whose template and tokenizer are used.
        opening: what stands before them.
        turns: oldest first.
    """

    def __init__(self, model: Model, opening: Opening, turns: Sequence[HeldTurn]) -> None:
        self._tokenizer = model.tokenizer
        bos_id = model.tokenizer.bos_id if model.tokenizer.add_bos else None  # else it begins turns, if anything
        self._bos: tuple[str, list[int]] = ("", []) if bos_id is None else (model.bos_text, [bos_id])
        self._ends = ReplyEnds(model.tokenizer)
        self._opening = opening
        self._turns = turns

    def encode(self, prompt: ChatPrompt, render: Render) -> HeldPrompt:
        """Render a request and encode what is new in it.

        Raises:
            InvalidRequest: what `render` raises, or the text has lone surrogates.
        """
        prompt = replace(prompt, messages=self._messages(prompt))
        text = render(prompt, True)
        n_kept, opening = self._n_kept(prompt, text), self._opening
        start = None
        if n_kept:
            n_messages = sum(len(turn) for turn in self._turns[:n_kept])
            start = self._ends.of_reply(prompt, n_messages, text, render, True)
        if start is not None and text.startswith(self._turns[n_kept - 1].closing[0], start):
            behind = self._turns[n_kept - 1].closing
            start += len(behind[0])
        else:
            n_kept = 0
            opening = self._opened(prompt, text, render)
            start, behind = self._behind_opening(opening, text)
        rest = text[start:]
        token_ids = self._encode_behind(behind, rest + prompt.prefill)
        return HeldPrompt(prompt, text, token_ids, n_kept, opening, behind, rest, render)

    def keep(
        self, held: HeldPrompt, reply: ParsedReply, generated_ids: Sequence[int], finish: FinishReason | None
    ) -> HeldTurn:
        """Return the turn that a finished reply makes of a prompt.

        It has the ids that were generated. Where they show more than the reply says, because a stop string or the first
        call ended it (`finish` is None for the latter), it is written as the template has it.
        """
        content = reply.content if reply.reasoning is not None else held.prompt.prefill + reply.content
        message: dict[str, Any] = {"role": "assistant", "content": content}
        if reply.reasoning is not None:
            message["reasoning_content"] = reply.reasoning
        whole_calls = [call for call in reply.tool_calls if call.complete]
        shown, closing = self._written(held, {**message, **_calls(whole_calls)})
        closing_ids = self._tokenizer.encode(closing, parse_special=True)
        ids = None if finish is None else self._ends.shown_ids(reply, generated_ids, finish)
        if ids is None and shown is not None and whole_calls == reply.tool_calls:
            token_ids = self._encode_behind(held.behind, held.rest + shown + closing)
        else:  # a call that is no JSON cannot be rendered
            token_ids = [*held.token_ids, *self._ends.without_end(generated_ids), *closing_ids]
        message |= _calls(reply.tool_calls)
        told = {**message, "reasoning_content": ""}  # a request may say nothing of the reasoning, or leave it in
        whole = {**told, "content": held.prompt.prefill + self._tokenizer.decode(ids or generated_ids)}
        n_before = sum(len(turn) for turn in self._turns[: held.n_kept])
        return HeldTurn(
            token_ids=token_ids,
            messages=tuple(canonical(message) for message in held.prompt.messages[n_before:]),
            replies=frozenset(canonical(form) for form in (message, told, whole)),
            closing=(closing, closing_ids),
            beginning=self._turns[0].beginning if held.n_kept else _beginning(held),
        )

    def _messages(self, prompt: ChatPrompt) -> list[dict[str, Any]]:
        """The messages of a request; the opening's own is the first one, or none where it is no system turn."""
        opening, messages = self._opening, list(prompt.messages)
        wanted = _system(opening.text if opening.system is None else opening.system)
        repeated = canonical(messages[0]) == canonical(wanted)
        if opening.system is not None and not repeated:
            messages.insert(0, wanted)
        elif opening.system is None and repeated and len(messages) > 1:
            del messages[0]
        return messages

    def _n_kept(self, prompt: ChatPrompt, text: str) -> int:
        """How many turns the messages of a prompt begin with."""
        messages = [canonical(message) for message in prompt.messages]
        ends = list(accumulate(len(turn) for turn in self._turns))
        n_kept = 0
        for turn, end in zip(self._turns, ends, strict=True):
            if end > len(messages) or not turn.matches(messages[end - len(turn) : end]):
                break
            n_kept += 1
        return n_kept if n_kept and self._turns[0].beginning.is_of(_settings(prompt), text) else 0

    def _opened(self, prompt: ChatPrompt, text: str, render: Render) -> Opening:
        """The opening as it has to be written for this request: tools may stand in it."""
        opening = self._opening
        if opening.system is None or not opening.alone or text.startswith(opening.text):
            return opening
        try:
            head = render(replace(prompt, messages=prompt.messages[:1]), False)
        except InvalidRequest:
            return opening
        if not text.startswith(head):
            return opening
        return replace(opening, text=head, token_ids=self._tokenizer.encode(head, parse_special=True))

    def _behind_opening(self, opening: Opening, text: str) -> tuple[int, tuple[str, list[int]]]:
        """Where the conversation begins in the text, and what it stands behind.

        A conversation that does not go on from the opening, though the opening is one of its messages, stands there
        as a whole: the system turn says it once more, with the tools. Only its BOS token is left out.
        """
        ids = list(opening.token_ids)
        if opening.system is not None and text.startswith(opening.text):
            return len(opening.text), (opening.text if opening.alone else "", ids if opening.alone else [])
        bos_text, bos_ids = self._bos
        if bos_text and text.startswith(bos_text) and (ids or not opening.alone):
            return len(bos_text), (bos_text, bos_ids)
        return 0, ("", [])

    def _encode_behind(self, behind: tuple[str, list[int]], text: str) -> list[int]:
        """The ids of a text behind another that is encoded already: those of both together, where they begin so."""
        before, before_ids = behind
        together = self._tokenizer.encode(before + text, parse_special=True)
        if together[: len(before_ids)] == before_ids:
            return together[len(before_ids) :]
        return self._tokenizer.encode(text, parse_special=True)

    def _written(self, held: HeldPrompt, message: dict[str, Any]) -> tuple[str | None, str]:
        """A reply as the template writes it, and what it writes behind; None and nothing where that cannot be told."""
        prompt = replace(held.prompt, messages=[*held.prompt.messages, message])
        try:
            through = held.render(prompt, False)
        except InvalidRequest:  # a template may insist that somebody else has the last word
            return None, ""
        end = self._ends.of_reply(prompt, len(prompt.messages), through, held.render, False)
        if end is None:
            return None, ""
        shown = through[len(held.text) : end] if through.startswith(held.text) and end >= len(held.text) else None
        return shown, through[end:]


def _system(content: str) -> dict[str, Any]:
    return {"role": "system", "content": content}


def _calls(calls: Sequence[ToolCall]) -> dict[str, Any]:
    """The part of a message that has the calls, if there are any."""
    functions = [{"name": call.name, "arguments": call.arguments} for call in calls]
    made = [{"id": f"call_{n}", "type": "function", "function": function} for n, function in enumerate(functions)]
    return {"tool_calls": made} if made else {}


def _settings(prompt: ChatPrompt) -> bytes:
    tools = [] if prompt.tool_choice.mode is ToolMode.NONE else prompt.tools
    told = [[tool.name, tool.description, tool.parameters] for tool in tools]
    return digest(json.dumps([told, prompt.template_options, prompt.thinking.enabled], sort_keys=True, default=repr))


def _beginning(held: HeldPrompt) -> Beginning:
    messages = held.prompt.messages
    n_first = next((n for n, message in enumerate(messages) if message["role"] == "assistant"), len(messages))
    text: str | None
    try:
        text = held.render(replace(held.prompt, messages=messages[:n_first]), False)
    except InvalidRequest:
        text = None
    settings = _settings(held.prompt)
    if text is None or not held.text.startswith(text):
        return Beginning(settings, None, b"")
    return Beginning(settings, len(text), digest(text))
