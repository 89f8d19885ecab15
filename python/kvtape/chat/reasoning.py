"""The reasoning in front of an answer, told apart by its markers."""

from __future__ import annotations

from dataclasses import dataclass

from kvtape.chat.json_scanner import BLANK
from kvtape.chat.markers import UntilMarker

__all__ = ["MAX_BLANKS", "REASONING_MARKERS", "ReasoningMarkers", "ReasoningSplitter", "choose_reasoning_markers"]

MAX_BLANKS = 1 << 10  # held back before the opening marker


@dataclass(frozen=True, slots=True)
class ReasoningMarkers:
    """What a model writes around its reasoning. `close` is also what ends it by force, and what arms stop strings."""

    open: str
    close: str

    def opened_by(self, prompt: str) -> bool:
        """Whether a prompt ends with the opening marker, so that the reply begins inside the reasoning."""
        return prompt.rstrip(BLANK).endswith(self.open)


REASONING_MARKERS = (
    ReasoningMarkers("<think>", "</think>"),  # DeepSeek, Qwen3 and most others
    ReasoningMarkers("[THINK]", "[/THINK]"),  # Mistral
    ReasoningMarkers("<seed:think>", "</seed:think>"),
)


def choose_reasoning_markers(template: str) -> ReasoningMarkers | None:
    """Return the markers that a chat template knows; None where the model does not reason.

    The closing one decides: templates that the prompt opens, or that cut reasoning off, may never name the other.
    """
    return next((markers for markers in REASONING_MARKERS if markers.close in template), None)


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
        self.cost = 0

    @property
    def inside(self) -> bool:
        """Whether the reasoning is going on. Stop strings do not count meanwhile."""
        return self._state in ("begun", "inside")

    @property
    def exhausted(self) -> bool:
        """Whether the budget is spent and the reasoning is going on: time to write the closing marker, and `close`."""
        return self.inside and self._budget is not None and self.cost >= self._budget

    def feed(self, text: str, cost: int = 1) -> tuple[str, str]:
        """Read more of the reply, which took `cost` tokens; return what it adds to reasoning and answer."""
        if self._state not in ("behind", "answer"):
            self.cost += cost
        if self._state == "before":
            text = self._read_before(text)
        reasoning, text = self._read_inside(text) if self.inside else ("", text)
        if self._state == "behind":
            text = text.lstrip("\r\n")
            self._state = "answer" if text else "behind"
        return reasoning, text

    def close(self) -> str:
        """End the reasoning by force, and return what was held back of it."""
        assert self.inside
        held = self._held + self._until_close.finish()
        self._held, self._state = "", "behind"
        return held

    def finish(self) -> tuple[str, str]:
        """Return what was held back at the end of the reply, of reasoning and answer."""
        if self.inside:
            return self.close(), ""
        held, self._held = self._held, ""
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
        self._held, self._state, self.cost = "", "answer", 0
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
