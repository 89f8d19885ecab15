"""What a session is created with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["OVERFLOWS", "TEXT", "FlashSpec", "Overflow", "SessionSpec", "SharedRingSpec"]

#: The type of a session without typed rows.
TEXT = "text"

#: What happens to data that a full queue has no room for: the newest of it is dropped, or the oldest; a feed in this
#: process waits; or of each symbol only the newest row waits at all.
Overflow = Literal["drop_newest", "drop_oldest", "block", "conflate"]
OVERFLOWS: tuple[Overflow, ...] = ("drop_newest", "drop_oldest", "block", "conflate")


@dataclass(frozen=True, slots=True)
class FlashSpec:
    """A flash query that a session begins with; `choices` are the answers that it may have, none: any."""

    query: str
    max_tokens: int
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SharedRingSpec:
    """A ring in shared memory that a session reads; `names` are those that its rows count, by field."""

    name: str
    names: Mapping[str, Sequence[str]] = field(default_factory=dict)
    capacity: int = 4096  # rows, a power of two


@dataclass(frozen=True, slots=True)
class SessionSpec:
    """What a session is created with."""

    prompt: str = ""
    context: int | None = None  # longest context in tokens; None: the engine's
    flash: tuple[FlashSpec, ...] = ()
    mark_prefix: bool = False
    wire: int = 1  # generation of the protocol that created it
    type: str = "ohlcv"  # of its rows, or TEXT
    id: str | None = None  # None: one is made up
    window: int | None = None  # tokens of data that stay; None: all do
    pre_decode: bool = False  # whether the last question is begun anew after each change
    overflow: Overflow | None = None  # None: by the generation
    shared_ring: SharedRingSpec | None = None

    @property
    def policy(self) -> Overflow:
        """What a full queue does; clients of the first generation count on what was accepted, so the newest go."""
        return self.overflow or ("drop_newest" if self.wire == 1 else "drop_oldest")
