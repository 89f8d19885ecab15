"""The parser that all formats share; a format adds how its calls begin."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import ClassVar

from kvtape.chat.json_scanner import BLANK, JsonScanner, is_plain_text
from kvtape.chat.markers import UntilMarker
from kvtape.chat.tool_parsers.arguments import ArgumentReader
from kvtape.chat.tool_parsers.openings import (
    CLOSED,
    Closed,
    Names,
    Opening,
    Reading,
    call_object,
    calls,
    literal,
    skip_blanks,
)
from kvtape.types import ContentDelta, Event, ToolCallArguments, ToolCallEnd, ToolCallStart

__all__ = ["MAX_BLANKS", "MAX_HELD", "ToolParser"]

MAX_HELD = 1 << 16  # characters that may be held back until it is certain whether they begin a call
MAX_BLANKS = 1 << 10  # blanks around calls that are dropped; more of them are content

_FENCE = "```"
_LANGUAGES = ("", "json")  # of a fenced block that may hold calls
_SLACK = BLANK + ",;}]"  # what may stand between the calls of a group, and what models add behind one


class ToolParser:
    """Finds tool calls in a reply that is fed in pieces of any size.

    Each character is read once, by the state that is current. All that is no part of a call is content, to the
    character, but for blanks around calls: from the beginning or a call on, up to the next call or the end. Held back
    are blanks, at most `MAX_BLANKS`, and what may turn out to begin a call, at most `MAX_HELD`: a marker and the JSON
    up to the arguments. What turns out to begin none is content, and is not searched again.

    Args:
        names: the tools that may be called; a call of another is content. None: any.
    """

    tags: ClassVar[dict[str, str]] = {}  # marker that opens a group of calls: marker that ends it, may be empty
    inner_marks: ClassVar[tuple[str, ...]] = ()  # markers inside a call
    bare: ClassVar[bool] = False  # whether JSON at the start of a line, fenced or not, may be a call

    def __init__(self, names: Collection[str] | None = None) -> None:
        self._names = Names(names)
        self._events: list[Event] = []
        self._state: Callable[[str, int], int] = self._read_content
        self._n_calls = self._n_complete = 0
        # Content: a place where a call may begin is the last character of a match.
        tags = [f"{re.escape(tag[0])}(?={re.escape(tag[1])}|\\Z)" for tag in self.tags]
        self._find_start = re.compile("|".join([*tags, r"(?<=\n)[ \t]*[{\[`]"] if self.bare else tags)).search
        self._match_start = re.compile(r"[ \t]*[{\[`]").match
        self._at_line_start = True
        self._blanks: str | None = ""  # held back; None: text has come since the beginning or the last call
        # An opening that is being read, and the call that is.
        self._reading: Reading[Opening | Closed | None] = self._read_opening()
        self._held: list[str] = []
        self._n_held = 0
        self._end_marker: str | None = None  # where what is held stands behind a call: what would end the group
        self._call = Opening(name="")
        self._reader: ArgumentReader | None = None
        self._rest = JsonScanner()
        self._broken = UntilMarker("")

    @property
    def n_calls(self) -> int:
        """Number of calls so far."""
        return self._n_calls

    @property
    def n_incomplete(self) -> int:
        """Number of calls so far whose arguments are not a whole JSON object, or not yet."""
        return self._n_calls - self._n_complete

    def feed(self, text: str) -> list[Event]:
        """Read more of the reply and return what it adds."""
        reader = self._reader
        if reader is not None and reader.in_string and is_plain_text(text):  # most of a long argument
            return [ToolCallArguments(self._n_calls - 1, text)] if text else []
        events: list[Event] = []
        self._events = events
        at = 0
        while at < len(text):
            at = self._state(text, at)
        return events

    def finish(self) -> list[Event]:
        """Return what was held back, at the end of the reply; a call that is open stays without its end."""
        events: list[Event] = []
        self._events = events
        if self._state == self._read_held:
            held = "".join(self._held)
            if self._end_marker is None or not self._end_marker.startswith(held.strip(_SLACK)):
                self._say(held)
        elif self._state == self._read_broken and (held := self._broken.finish()):
            events.append(ToolCallArguments(self._n_calls - 1, held, broken=True))
        if self._blanks and not self._n_calls:
            events.append(ContentDelta(self._blanks))
        return events

    # Each state reads on from a place in the text and returns where the next state goes on.

    def _read_content(self, text: str, at: int) -> int:
        found = self._match_start(text, at) if self.bare and self._at_line_start else None
        found = found or self._find_start(text, at)
        if found is None:
            self._say(text[at:])
            return len(text)
        start = found.end() - 1
        self._say(text[at:start])
        self._hold(self._read_opening())
        return start

    def _read_held(self, text: str, at: int) -> int:
        start, end = at, min(len(text), at + MAX_HELD - self._n_held)
        outcome: Opening | Closed | None = None
        certain = False
        try:
            while at < end:
                self._reading.send(text[at])
                at += 1
        except StopIteration as result:
            outcome, certain = result.value, True
        self._held.append(text[start:at])
        self._n_held += at - start
        if not certain and self._n_held < MAX_HELD:
            return at
        self._state = self._read_content
        if isinstance(outcome, Opening):
            self._begin_call(outcome)
        elif outcome is None:
            self._say("".join(self._held))
        return at

    def _read_arguments(self, text: str, at: int) -> int:
        reader = self._reader
        assert reader is not None
        piece, at = reader.read(text, at)
        if piece:
            self._events.append(ToolCallArguments(self._n_calls - 1, piece))
        if reader.done:
            self._end_call()
        elif at < len(text):
            self._reader = None
            self._broken = UntilMarker(self._call.close)
            if reader.held:
                self._events.append(ToolCallArguments(self._n_calls - 1, reader.held, broken=True))
            self._state = self._read_broken
        return at

    def _read_broken(self, text: str, at: int) -> int:
        """Arguments that are no JSON: nothing but the marker that ends the group can tell where they end."""
        piece, end = self._broken.read(text, at)
        if piece:
            self._events.append(ToolCallArguments(self._n_calls - 1, piece, broken=True))
        if end is None:
            return len(text)
        self._state = self._read_content
        return end

    def _read_rest(self, text: str, at: int) -> int:
        """What follows the arguments in the object and the array that hold them: nothing of it is used."""
        rest = self._rest
        while at < len(text) and not rest.done:
            if text[at] == "{" and rest.wants_value and rest.inside == "]":
                self._hold(self._read_element())
                return at
            if not rest.scan(text[at]):
                break
            at += 1
        if rest.done or at < len(text):
            self._hold(self._read_between(), self._call.close)
        return at

    # How an opening is read; a format overrides `_read_group`.

    def _read_opening(self) -> Reading[Opening | Closed | None]:
        """Read from a place where a call may begin."""
        return (yield from self._read_start((yield), ""))

    def _read_between(self) -> Reading[Opening | Closed | None]:
        """Read from the end of a call on."""
        return (yield from self._read_start((yield from skip_blanks(_SLACK)), self._call.close))

    def _read_element(self) -> Reading[Opening | Closed | None]:
        """Read a further call in an array, from its `{` on."""
        yield
        close = self._call.close
        return (yield from call_object(self._names, inside="]", close=close, loose=not close))

    def _read_start(self, char: str, close: str) -> Reading[Opening | Closed | None]:
        if char in "{[" and (self.bare or close):
            return (yield from calls(char, self._names, close=close, loose=not close))
        fences = (_FENCE,) if self.bare else ()
        choices = [marker for marker in (close, *self.tags, *fences) if marker[:1] == char]
        marker = (yield from literal(char, *choices)) if choices else None
        if marker is None:
            return None
        if marker == close:
            yield
            return CLOSED
        return (yield from self._read_fenced() if marker == _FENCE else self._read_group(self.tags[marker]))

    def _read_fenced(self) -> Reading[Opening | None]:
        language = ""
        while (char := (yield)) != "\n":
            language += char
            if not any(known.startswith(language.strip(BLANK)) for known in _LANGUAGES):
                return None
        char = yield from skip_blanks()
        return (yield from calls(char, self._names, close=_FENCE, loose=True))

    def _read_group(self, close: str) -> Reading[Opening | None]:
        """Read from behind a tag on."""
        return (yield from calls((yield from skip_blanks()), self._names, close=close))

    # Changes of state.

    def _hold(self, reading: Reading[Opening | Closed | None], end_marker: str | None = None) -> None:
        next(reading)
        self._reading, self._held, self._n_held, self._end_marker = reading, [], 0, end_marker
        self._state = self._read_held

    def _begin_call(self, opening: Opening) -> None:
        self._call, self._reader = opening, opening.reader
        self._blanks, self._at_line_start = "", True
        self._events.append(ToolCallStart(self._n_calls, opening.name))
        self._n_calls += 1
        self._state = self._read_arguments
        if opening.reader is None:
            self._events.append(ToolCallArguments(self._n_calls - 1, opening.arguments))
            self._end_call()

    def _end_call(self) -> None:
        self._reader = None
        self._n_complete += 1
        self._events.append(ToolCallEnd(self._n_calls - 1))
        if self._call.inside:
            self._rest = JsonScanner(inside=self._call.inside)
            self._state = self._read_rest
        else:
            self._hold(self._read_between(), self._call.close)

    def _say(self, text: str) -> None:
        """Put text into the content, or with the blanks that may turn out to belong to a call."""
        newline = text.rfind("\n")
        if newline >= 0 or self._at_line_start:
            self._at_line_start = not text[newline + 1 :].strip(" \t")
        if self._blanks is not None:
            self._blanks += text
            if not text.strip(BLANK) and len(self._blanks) <= MAX_BLANKS:
                return
            text, self._blanks = self._blanks, None
        if text:
            self._events.append(ContentDelta(text))
