"""Text up to a marker that may be cut anywhere."""

from __future__ import annotations

__all__ = ["UntilMarker"]


class UntilMarker:
    """Passes text on until a marker comes. It holds back less than the marker's length."""

    def __init__(self, marker: str) -> None:
        self._marker = marker  # empty: never comes
        self._held = ""

    def read(self, text: str, start: int = 0) -> tuple[str, int | None]:
        """Return the text that is known to stand before the marker, and where in `text` the marker ends, if it does."""
        marker = self._marker
        if not marker:
            return text[start:], None
        text_before = len(self._held) - start
        text = self._held + text[start:]
        at = text.find(marker)
        if at >= 0:
            self._held = ""
            return text[:at], at + len(marker) - text_before
        at = self._first_partial(text)
        self._held = text[at:]
        return text[:at], None

    def finish(self) -> str:
        """Return what was held back, at the end of the text."""
        held, self._held = self._held, ""
        return held

    def _first_partial(self, text: str) -> int:
        """Where the longest beginning of the marker that ends the text begins."""
        at = max(0, len(text) - len(self._marker) + 1)
        while (at := text.find(self._marker[0], at)) >= 0:
            if self._marker.startswith(text[at:]):
                return at
            at += 1
        return len(text)
