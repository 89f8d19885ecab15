"""An answer to a session's question, while it is being given."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kvtape.chat.conversation import Turn
from kvtape.errors import SequenceLost
from kvtape.session.flash import FlashAnswer, FlashQuery
from kvtape.types import TokenEvent

if TYPE_CHECKING:
    from kvtape.session.session import Session

__all__ = ["Answer"]


@dataclass(slots=True)
class Answer:
    """A question being answered: by `text` that was there already, or by a `turn` that generates.

    The text is that of a flash query, which `cached` names, or is `speculative`: how the answer begins has decided.

    `close` must be called in any case; until then a session whose answer is a turn takes no other question. A finished
    turn stays as the session's tail, one that was left is cancelled.
    """

    session: Session
    version: int
    cached: FlashQuery | None = None
    found: FlashAnswer | None = None  # its answer, which stays what it is
    turn: Turn | None = None
    text: str = ""
    speculative: bool = False
    logit_gap: float | None = None  # of a speculative answer
    keep_tail: bool = True
    began: float = field(default_factory=time.monotonic)
    begin: Callable[[], Awaitable[Turn]] | None = None  # makes the turn once more
    _open: bool = True

    async def events(self) -> AsyncGenerator[TokenEvent, None]:
        """Yield the tokens of the turn as they come; where its KV was taken away before the first, it runs again.

        Raises:
            EngineFailed: the engine gave the generation up.
        """
        assert self.turn is not None
        while True:
            n_events = 0
            try:
                async with aclosing(self.turn.events()) as events:
                    async for event in events:
                        n_events += 1
                        yield event
                return
            except SequenceLost:
                if n_events or self.begin is None:
                    raise
                self.turn.close()
                self.turn = await self.begin()
                self.version = self.session.version

    async def collect(self) -> list[TokenEvent]:
        """Run the turn to its end and return every event."""
        async with aclosing(self.events()) as events:
            return [event async for event in events]

    def close(self) -> None:
        """End the question."""
        if self._open:
            self._open = False
            self.session._end(self)
