"""Server-Sent Events: the frames a server writes and the incremental decoder a client reads them with.

Published clients are stricter than the standard, so frames are written in one form only: a field name, a colon, exactly
one space, the payload on a single line, one blank line at the end.
"""

from __future__ import annotations

import codecs
from dataclasses import dataclass

__all__ = ["DONE", "HEARTBEAT", "SseDecoder", "SseEvent", "encode_event"]

DONE = b"data: [DONE]\n\n"
HEARTBEAT = b": heartbeat\n\n"

# Characters that JSON leaves alone inside strings but that some clients split lines at. In UTF-8 these byte sequences
# cannot be part of another character, so they can be replaced in the encoded payload.
_LINE_BREAKS = ((b"\xc2\x85", b"\\u0085"), (b"\xe2\x80\xa8", b"\\u2028"), (b"\xe2\x80\xa9", b"\\u2029"))


def encode_event(data: bytes, *, event: str | None = None, number: int | None = None) -> bytes:
    """Frame one JSON payload, with an `event:` line where the dialect names its events, and an `id:` line to resume at.

    Raises:
        ValueError: the payload or the name spans more than one line; that frame would be read as two.
    """
    for raw, escaped in _LINE_BREAKS:
        if raw in data:
            data = data.replace(raw, escaped)
    if b"\n" in data or b"\r" in data:
        raise ValueError("the payload of an event is one line of JSON, found a line break in it")
    end = b"\n\n" if number is None else b"\nid: %d\n\n" % number
    if event is None:
        return b"data: " + data + end
    if "\n" in event or "\r" in event:
        raise ValueError(f"the name of an event is one line, found {event!r}")
    return b"event: " + event.encode() + b"\ndata: " + data + end


@dataclass(frozen=True, slots=True)
class SseEvent:
    """One received event; `event` is empty where the frame did not name one, `id` is the last one that was sent."""

    data: str
    event: str = ""
    id: str = ""


class SseDecoder:
    """Bytes in, events out; pieces may be cut anywhere.

    Follows the standard: `\\n`, `\\r\\n` and `\\r` end a line, several `data` lines join with a newline, comments and
    unknown fields are skipped, an unfinished event is dropped.
    """

    def __init__(self) -> None:
        self._text = codecs.getincrementaldecoder("utf-8")("replace")
        self._line = ""
        self._after_cr = False
        self._at_start = True
        self._event = self._id = ""
        self._data: list[str] = []

    def feed(self, piece: bytes) -> list[SseEvent]:
        """Return the events completed by `piece`."""
        text = self._text.decode(piece)
        if self._at_start and text:
            text, self._at_start = text.removeprefix("\ufeff"), False
        if self._after_cr and text:
            text, self._after_cr = text.removeprefix("\n"), False
        if text.endswith("\r"):
            self._after_cr = True
        *lines, self._line = (self._line + text.replace("\r\n", "\n").replace("\r", "\n")).split("\n")
        return [event for line in lines if (event := self._take(line)) is not None]

    def _take(self, line: str) -> SseEvent | None:
        if line:
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if name == "data":
                self._data.append(value)
            elif name == "event":
                self._event = value
            elif name == "id":
                self._id = value
            return None
        event = SseEvent("\n".join(self._data), self._event, self._id) if self._data else None
        self._event, self._data = "", []
        return event
