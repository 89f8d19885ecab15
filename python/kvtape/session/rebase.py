"""The window computed afresh: on a sequence of its own, beside the one that is in use, until it can take its place."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from kvtape.session.tape import Tape
from kvtape.types import WorkClass

if TYPE_CHECKING:
    from kvtape.engine import AsyncSequence

__all__ = ["Rebase"]

PIECE = 256  # tokens appended at a time, so that other sessions' data get their turns


class Rebase:
    """What the tape has not let go, appended to `sequence` piece by piece. It is right as long as the head stays.

    Attributes:
        kept_from: where on the tape the part behind the head began when this started.
    """

    def __init__(self, sequence: AsyncSequence, tape: Tape) -> None:
        self.sequence = sequence
        self.kept_from = tape.kept_from
        self.ended = False
        self._tape = tape
        self._advancing = asyncio.Lock()

    async def advance(self) -> None:
        """Catch up with the tape.

        Raises:
            EngineFailed: the engine gave up.
        """
        async with self._advancing:
            while not self.ended and (piece := self._missing()):
                self.sequence.append(piece, work=WorkClass.INGEST)
                await self.sequence.resident()

    def _missing(self) -> list[int]:
        tape, n_done = self._tape, self.sequence.n_tokens
        if n_done < tape.head_end:
            ids = tape.token_ids(n_done, min(tape.head_end, n_done + PIECE))
        else:
            begin = self.kept_from + n_done - tape.head_end
            ids = tape.token_ids(begin, min(tape.n_tokens, begin + PIECE))
        return list(ids.tolist())

    def take(self) -> AsyncSequence:
        """End this and give the sequence away."""
        self.ended = True
        return self.sequence

    def close(self) -> None:
        """End this and free what it computed."""
        self.ended = True
        self.sequence.close()
