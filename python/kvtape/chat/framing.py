"""How a session's prompt and questions are dressed, and its context rewritten."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from kvtape.chat.template import template_of
from kvtape.errors import InvalidRequest
from kvtape.types import Thinking

if TYPE_CHECKING:
    from kvtape.engine.sequence import SequenceBase
    from kvtape.model.load import Model

__all__ = ["Framing", "common_prefix_len", "rewrite"]


class Framing:
    """How a session's texts are dressed, and their tokens.

    With a chat template and a system prompt the session opens with the template's system turn and each question is a
    user turn that asks for an answer; otherwise prompt and question are raw text. Rendering blocks: not for an event
    loop.

    Args:
        model: whose template and tokenizer are used.
        prompt: the system prompt, may be empty.
        now: Unix seconds, the template's clock, so that each rendering begins alike.
        asks_in_turns: whether questions are user turns without a system prompt, too.

    Attributes:
        templated: whether the session opens with a system turn.
    """

    def __init__(self, model: Model, prompt: str, *, now: float, asks_in_turns: bool = False) -> None:
        self.model = model
        self.now = now
        self.prompt = prompt
        self._template = template_of(model)
        self._tokenizer = model.tokenizer
        self._system = {"role": "system", "content": prompt}
        self._opening = self._render_head() if prompt or asks_in_turns else None  # what a question's turn follows
        self.templated = bool(prompt) and self.asks_in_turns
        self.head = (self._opening or "") if self.templated else prompt
        add_bos = self._tokenizer.add_bos and not self.templated  # a template writes the token itself
        self.head_ids = self._tokenizer.encode(self.head, parse_special=self.templated, add_bos=add_bos)

    @property
    def asks_in_turns(self) -> bool:
        """Whether a question is a user turn, so that what follows is a reply, and no raw text that goes on."""
        return self._opening is not None

    def _render_head(self) -> str | None:
        if self._template is None:
            return None
        try:
            head = self._template.render([self._system], add_generation_prompt=False, now=self.now)
            whole = self._render_whole("question")
        except InvalidRequest:  # a template may refuse a lone system turn
            return None
        return head if whole.startswith(head) else None

    def _render_whole(self, question: str, thinking: Thinking | None = None) -> str:
        assert self._template is not None
        messages = [self._system, {"role": "user", "content": question}]
        options: dict[str, Any] = {}
        if thinking is not None and thinking.enabled is not None:
            options["enable_thinking"] = thinking.enabled
        return self._template.render(messages, add_generation_prompt=True, now=self.now, **options)

    def encode_question(self, question: str, thinking: Thinking | None = None) -> list[int]:
        """Return the tokens that are appended to the session's context to ask `question`; raw text does not think.

        Raises:
            InvalidRequest: the template or the tokenizer refuses it.
        """
        if self._opening is None:
            return self._tokenizer.encode(question)
        text = self._render_whole(question, thinking)[len(self._opening) :]
        return self._tokenizer.encode(text, parse_special=True)

    def encode_text(self, text: str) -> list[int]:
        """Return the tokens of raw text."""
        return self._tokenizer.encode(text)


def rewrite(sequence: SequenceBase, token_ids: Sequence[int], *, behind: int = 0) -> None:
    """Make `sequence` hold `token_ids` behind its first `behind`, keeping the longest prefix that it holds already.

    Raises:
        ContextOverflow: they do not fit.
    """
    held = sequence.token_ids()[behind:]
    n_common = common_prefix_len(held, token_ids)
    if n_common < len(held):
        sequence.truncate(behind + n_common)
    if n_common < len(token_ids):
        sequence.append(token_ids[n_common:])


def common_prefix_len(first: Sequence[int] | npt.NDArray[np.int32], second: Sequence[int]) -> int:
    """Return how many token ids two lists have in common before they differ."""
    n_compared = min(len(first), len(second))
    differs = np.flatnonzero(np.asarray(first[:n_compared]) != np.asarray(second[:n_compared]))
    return int(differs[0]) if len(differs) else n_compared
