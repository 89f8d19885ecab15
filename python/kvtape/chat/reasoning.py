"""The reasoning in front of an answer, told apart by its markers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kvtape.chat.json_scanner import BLANK
from kvtape.chat.markers import UntilMarker
from kvtape.types import ReasoningSpan, Thinking

if TYPE_CHECKING:
    from kvtape.model.load import Model

__all__ = [
    "MAX_BLANKS",
    "REASONING_MARKERS",
    "ReasoningMarkers",
    "ReasoningSplitter",
    "choose_reasoning_markers",
    "reasoning_span",
]

MAX_BLANKS = 1 << 10  # held back before the opening marker


@dataclass(frozen=True, slots=True)
class ReasoningMarkers:
    """What a model writes around its reasoning."""

    open: str
    close: str
    closing: str  # the closing marker as the model is used to it, newlines included: what ends reasoning by force

    def opened_by(self, prompt: str) -> bool:
        """Whether a prompt ends with the opening marker, so that the reply begins inside the reasoning."""
        return prompt.rstrip(BLANK).endswith(self.open)


REASONING_MARKERS = (
    ReasoningMarkers("<think>", "</think>", "\n</think>\n\n"),  # DeepSeek, Qwen3 and most others
    ReasoningMarkers("[THINK]", "[/THINK]", "[/THINK]"),  # Mistral
    ReasoningMarkers("<seed:think>", "</seed:think>", "</seed:think>"),
)


def choose_reasoning_markers(template: str) -> ReasoningMarkers | None:
    """Return the markers that a chat template knows; None where the model does not reason.

    The closing one decides: templates that the prompt opens, or that cut reasoning off, may never name the other.
    """
    return next((markers for markers in REASONING_MARKERS if markers.close in template), None)


def reasoning_span(
    model: Model, markers: ReasoningMarkers | None, prompt_text: str, thinking: Thinking
) -> ReasoningSpan | None:
    """Return what the engine has to know of the reasoning in a reply to a rendered prompt; None for no markers.

    A model that is told not to reason, and begins to all the same, has no budget for it.
    """
    if markers is None:
        return None
    return ReasoningSpan(
        open=markers.open,
        close=markers.close,
        opened=markers.opened_by(prompt_text),
        budget=0 if thinking.enabled is False else thinking.budget,
        close_ids=_spell(model, markers.closing),
    )


def _spell(model: Model, text: str) -> tuple[int, ...]:
    """Return the tokens of a text without spaces; SentencePiece puts one before what is a word's continuation here."""
    tokenizer = model.tokenizer
    return tuple(i for i in tokenizer.encode(text, parse_special=True) if tokenizer.decode([i]) != " ")


class ReasoningSplitter:
    """Splits a reply, fed in pieces of any size, into reasoning and answer.

    Reasoning stands at the beginning or nowhere. One newline inside of each marker belongs to the marker, and so do the
    newlines between reasoning and answer. Held back are less than a marker and a newline, and blanks before the opening
    marker, at most `MAX_BLANKS`.

    Args:
        opened: the prompt has written the opening marker.
        budget: what reasoning may cost, in the unit of `feed`'s `cost`; None: no limit.

    Attributes:
        cost: of the reasoning so far, its markers included.
    """

    def __init__(self, markers: ReasoningMarkers, *, opened: bool = False, budget: int | None = None) -> None:
        self._markers = markers
        self._budget = budget
        self._until_close = UntilMarker(markers.close)
        self._held = ""  # before: what may begin the marker; inside: a newline that may belong to the closing one
        self._state = "begun" if opened else "before"

    @property
    def inside(self) -> bool:
        """Whether the reasoning is going on."""
        return self._state in ("begun", "inside")

    def feed(self, text: str) -> tuple[str, str]:
        """Read more of the reply; return what it adds to reasoning and answer."""
        if self._state == "before":
            text = self._read_before(text)
        reasoning, text = self._read_inside(text) if self.inside else ("", text)
        if self._state == "behind":
            text = text.lstrip("\r\n")
            self._state = "answer" if text else "behind"
        return reasoning, text

    def finish(self) -> tuple[str, str]:
        """Return what was held back at the end of the reply, of reasoning and answer."""
        held, self._held = self._held, ""
        if self.inside:
            return held + self._until_close.finish(), ""
        return "", held

    def _read_before(self, text: str) -> str:
        text = self._held + text
        begun = text.lstrip(BLANK)
        marker = self._markers.open
        if len(text) - len(begun) <= MAX_BLANKS:
            if begun.startswith(marker):
                self._held, self._state = "", "begun"
                return begun[len(marker) :]
            if marker.startswith(begun):
                self._held = text
                return ""
        self._held, self._state = "", "answer"
        return text

    def _read_inside(self, text: str) -> tuple[str, str]:
        if self._state == "begun" and text:
            text = text.removeprefix("\n")
            self._state = "inside"
        piece, end = self._until_close.read(text)
        piece = self._held + piece
        self._held = "\n" if piece.endswith("\n") else ""
        piece = piece.removesuffix("\n")
        if end is None:
            return piece, ""
        self._held, self._state = "", "behind"
        return piece, text[end:]
