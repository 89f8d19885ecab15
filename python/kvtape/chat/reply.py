"""One reply of a model: its text, as it comes, to the events that every dialect is encoded from."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

from kvtape.chat.finish import finish_reason
from kvtape.chat.reasoning import ReasoningSplitter
from kvtape.chat.tool_parsers import ToolParser
from kvtape.types import ContentDelta, Event, FinishReason, ReasoningDelta, ReplyFinish

if TYPE_CHECKING:
    from kvtape.model.load import Model

__all__ = ["ReplyParser", "broken_calls", "count_broken_calls"]

_BROKEN_CALLS: weakref.WeakKeyDictionary[Model, int] = weakref.WeakKeyDictionary()


def count_broken_calls(model: Model, n_calls: int) -> None:
    """Count calls of a finished reply whose arguments are no JSON object."""
    if n_calls:
        _BROKEN_CALLS[model] = _BROKEN_CALLS.get(model, 0) + n_calls


def broken_calls(model: Model) -> int:
    """Return how many calls a model has broken in this process."""
    return _BROKEN_CALLS.get(model, 0)


class ReplyParser:
    """Reasoning first, then tool calls in the answer; each only where it is looked for.

    The same events, but for where deltas are cut, however the text is cut. Where the prompt forces a call by writing
    its opening, feed that opening first.

    Args:
        reasoning: None where the model does not reason, or its reasoning stays in the content.
        tools: None where the request has no tools, or forbids calls.
    """

    def __init__(self, *, reasoning: ReasoningSplitter | None = None, tools: ToolParser | None = None) -> None:
        self.reasoning = reasoning
        self.tools = tools

    def feed(self, text: str) -> list[Event]:
        """Read more of the reply and return what it adds."""
        if self.reasoning is None:
            return self._feed_answer(text)
        return self._events(*self.reasoning.feed(text))

    def finish(self, reason: FinishReason) -> tuple[list[Event], ReplyFinish]:
        """Return what was held back, and why the reply ended.

        Raises:
            ValueError: the generation did not end by itself.
        """
        events = self._events(*self.reasoning.finish()) if self.reasoning is not None else []
        if self.tools is None:
            return events, finish_reason(reason)
        events += self.tools.finish()
        return events, finish_reason(reason, n_calls=self.tools.n_calls, n_incomplete=self.tools.n_incomplete)

    def _events(self, reasoning: str, answer: str) -> list[Event]:
        events: list[Event] = [ReasoningDelta(reasoning)] if reasoning else []
        return events + self._feed_answer(answer)

    def _feed_answer(self, text: str) -> list[Event]:
        if self.tools is not None:
            return self.tools.feed(text)
        return [ContentDelta(text)] if text else []
