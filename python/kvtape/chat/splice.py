"""Ids of finished turns, kept so that the next turn of a conversation continues the very sequence that was computed.

A model's ids are seldom those of its text: it may cut words otherwise than the tokenizer would, and a template writes a
tool call with spaces and an order of its own. The prefix cache goes by ids, so a conversation that is rendered and
encoded afresh would be computed again from its first reply on. Where a request continues a turn that is known, its ids
are those of that turn, and only what follows is encoded.

A turn is known by all messages up to its reply, so nobody's reply gets into another's prompt. And it is taken only
where the template writes the same text before the reply as it did then, and ends the reply as the model does.
"""

from __future__ import annotations

import json
import threading
import weakref
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from kvtape.chat.reply_end import Render, ReplyEnds
from kvtape.chat.sameness import canonical, digest
from kvtape.types import ChatPrompt, FinishReason, ParsedReply

if TYPE_CHECKING:
    from kvtape.model.load import Model
    from kvtape.model.tokenizer import Tokenizer

__all__ = ["EncodedChat", "Splices", "splices_of"]

_MAX_IDS = 1 << 20  # kept a model: about 130 conversations of 8,192 tokens
_ENTRY_IDS = 128  # what an entry takes beside its own ids, in ids of 4 bytes

_OF_MODEL: weakref.WeakKeyDictionary[Model, Splices] = weakref.WeakKeyDictionary()


def splices_of(model: Model) -> Splices:
    """Return the turns that are kept for a model."""
    if model not in _OF_MODEL:
        _OF_MODEL[model] = Splices(model.tokenizer)
    return _OF_MODEL[model]


@dataclass(frozen=True, slots=True, eq=False)
class _Turn:
    """A finished turn: its prompt and its reply, without the token that ended it."""

    key: bytes
    parent: _Turn | None  # the turn that its prompt continues
    own_ids: npt.NDArray[np.int32]  # what comes after the parent's
    n_ids: int  # with the parent's
    text_len: int  # of its prompt, without the beginning of the reply
    text_hash: bytes
    content: str | None  # of the reply; None where it has calls, whose text is the template's business

    def ids(self) -> list[int]:
        parts: list[npt.NDArray[np.int32]] = []
        turn: _Turn | None = self
        while turn is not None:
            parts.append(turn.own_ids)
            turn = turn.parent
        ids: list[int] = np.concatenate(parts[::-1]).tolist()
        return ids


@dataclass(frozen=True, slots=True, eq=False)
class EncodedChat:
    """A prompt as ids; `Splices.keep` takes it back with the reply."""

    prompt: ChatPrompt
    text: str  # as rendered: without the beginning of the reply
    token_ids: list[int]
    base: _Turn | None  # the turn that it continues
    key: bytes


class Splices:
    """The finished turns of one model's conversations, the least recently used dropped first. Thread-safe."""

    def __init__(self, tokenizer: Tokenizer, *, max_ids: int = _MAX_IDS) -> None:
        self._tokenizer = tokenizer
        self._ends = ReplyEnds(tokenizer)
        self._max_ids = max_ids
        self._n_ids = 0
        # A turn stands before its parent: it goes first, so whoever is here has all of its ancestors here.
        self._turns: OrderedDict[bytes, _Turn] = OrderedDict()
        self._lock = threading.Lock()

    def encode(self, prompt: ChatPrompt, render: Render) -> EncodedChat:
        """Render a prompt and encode it, from the end of the last turn that is known.

        Raises:
            InvalidRequest: what `render` raises, or the text has lone surrogates.
        """
        text = render(prompt, True)
        keys = list(_keys(prompt))
        base, rest = self._find(prompt, keys, text, render)
        new_ids = self._tokenizer.encode(rest + prompt.prefill, parse_special=True)
        token_ids = new_ids if base is None else base.ids() + new_ids
        return EncodedChat(prompt=prompt, text=text, token_ids=token_ids, base=base, key=keys[-1])

    def keep(
        self, encoded: EncodedChat, reply: ParsedReply, generated_ids: Sequence[int], finish: FinishReason | None
    ) -> None:
        """Remember a reply, where a prompt that repeats it can be told to mean these ids.

        Not so: what `ReplyEnds.shown_ids` says, or a reply that has reasoning (templates drop it later).
        """
        ids = self._ends.shown_ids(reply, generated_ids, finish)
        if ids is None or reply.reasoning is not None:
            return
        content = encoded.prompt.prefill + reply.content
        calls = [{"function": {"name": call.name, "arguments": call.arguments}} for call in reply.tool_calls]
        message = canonical({"role": "assistant", "content": content, "tool_calls": calls})
        if self._ends.find(message) is not None:
            return
        key = digest(message, behind=encoded.key)
        with self._lock:
            base = encoded.base if encoded.base and self._turns.get(encoded.base.key) is encoded.base else None
            all_ids = encoded.token_ids + ids
            turn = _Turn(
                key=key,
                parent=base,
                own_ids=np.array(all_ids[base.n_ids if base else 0 :], dtype=np.int32),
                n_ids=len(all_ids),
                text_len=len(encoded.text),
                text_hash=digest(encoded.text),
                content=None if calls else content,
            )
            self._add(turn)

    def _add(self, turn: _Turn) -> None:
        known = self._turns.get(turn.key)
        if known is not None and known.text_hash == turn.text_hash:
            return self._touch(known)
        if known is not None:  # rendered otherwise by now: the template's clock has moved on
            self._n_ids -= len(known.own_ids) + _ENTRY_IDS
        self._turns[turn.key] = turn
        self._n_ids += len(turn.own_ids) + _ENTRY_IDS
        self._touch(turn)
        while self._n_ids > self._max_ids:
            _, oldest = self._turns.popitem(last=False)
            self._n_ids -= len(oldest.own_ids) + _ENTRY_IDS
        return None

    def _touch(self, turn: _Turn | None) -> None:
        while turn is not None:
            if self._turns.get(turn.key) is turn:
                self._turns.move_to_end(turn.key)
            turn = turn.parent

    def _find(self, prompt: ChatPrompt, keys: Sequence[bytes], text: str, render: Render) -> tuple[_Turn | None, str]:
        """Return the longest turn that the prompt continues, and the text after its reply."""
        for n_messages in range(len(keys) - 1, 0, -1):
            turn = self._turns.get(keys[n_messages])
            if turn is None:
                continue
            rest = self._after(turn, prompt, n_messages, text, render)
            if rest is not None:
                with self._lock:
                    self._touch(turn)
                return turn, rest
        return None, text

    def _after(self, turn: _Turn, prompt: ChatPrompt, n_messages: int, text: str, render: Render) -> str | None:
        if digest(text[: turn.text_len]) != turn.text_hash:
            return None
        end = self._ends.of_reply(prompt, n_messages, text, render, True)
        if end is None or end < turn.text_len or self._ends.find(text, turn.text_len, end) is not None:
            return None
        if turn.content is not None and text[turn.text_len : end].strip() != turn.content.strip():
            return None
        return text[end:]


def _keys(prompt: ChatPrompt) -> Iterator[bytes]:
    """The key of each beginning of a conversation: of no message, of the first one, and so on to all."""
    tools = [(tool.name, tool.description, tool.parameters) for tool in prompt.tools]
    options = [tools, prompt.template_options, prompt.thinking.enabled]
    key = digest(json.dumps(options, sort_keys=True, default=repr))
    yield key
    for message in prompt.messages:
        key = digest(canonical(message), behind=key)
        yield key
