"""The ready position: the last question of a session, begun anew after each change, before it is asked again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kvtape.chat.conversation import begin_turn
from kvtape.errors import ContextOverflow, EngineFailed
from kvtape.types import FinishReason, SamplingParams, WorkClass

if TYPE_CHECKING:
    from kvtape.session.context import LiveContext

__all__ = ["GAP_THRESHOLD", "Ready", "ReadyPosition"]

log = logging.getLogger(__name__)

GAP_THRESHOLD = 2.0  # logit gap from which a first token decides
MAX_WORD_TOKENS = 8


@dataclass(frozen=True, slots=True)
class Ready:
    """How the answer to a question begins, at one data version."""

    question: str
    version: int
    token_id: int  # the most probable first token
    text: str  # of that token; empty where it is none of its own
    gap: float  # logit gap to the second best
    word: str = ""  # the answer's first word, where it was asked for and has an end

    def decides(self, candidates: Sequence[str]) -> str | None:
        """Return the only candidate that the answer can become, outer white space apart; None: there is no such one."""
        begun = self.text.strip()
        fitting = {candidate for candidate in candidates if begun and candidate.strip().startswith(begun)}
        return fitting.pop() if len(fitting) == 1 else None


class ReadyPosition:
    """Keeps `current` up with the context, by work of the lowest class that gives way to everything else.

    Args:
        context: what the question is asked of.
        whole_words: whether an answer is begun up to its first word, not its first token alone.
        may_run: whether there is nothing better to do at the moment; `refresh` is called again when there is not.
    """

    def __init__(self, context: LiveContext, *, whole_words: bool, may_run: Callable[[], bool]) -> None:
        self.current: Ready | None = None
        self._context = context
        self._max_tokens = MAX_WORD_TOKENS if whole_words else 1
        self._may_run = may_run
        self._question: str | None = None
        self._token_ids: list[int] = []
        self._tried: tuple[str, int] | None = None  # question and version, whatever came of it
        self._task: asyncio.Task[None] | None = None

    @property
    def running(self) -> bool:
        """Whether it is being computed."""
        return self._task is not None

    def asked(self, question: str, token_ids: list[int]) -> None:
        """Say what the session was asked last, and the tokens of that."""
        self._question, self._token_ids = question, token_ids

    def find(self, question: str) -> Ready | None:
        """Return what is known about the answer to `question`, outer white space apart, at the current version."""
        ready = self.current
        if ready is None or ready.version != self._context.version or ready.question.strip() != question.strip():
            return None
        return ready

    def refresh(self) -> None:
        """Start computing it, unless it is there or there is something better to do."""
        wanted = (self._question, self._context.version)
        if self._question is not None and wanted != self._tried and self._task is None and self._may_run():
            self._task = asyncio.get_running_loop().create_task(self._run(self._question, self._token_ids))

    def stop(self) -> None:
        """Give way: what is being computed is cancelled within a step, until `refresh`."""
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def _run(self, question: str, token_ids: list[int]) -> None:
        version = self._context.version
        try:
            self.current = await self._begin(question, token_ids, version)
            self._tried = (question, version)
        except ContextOverflow:
            self._tried = (question, version)
        except EngineFailed as error:
            log.warning("the ready position of a session was not computed: %s", error)
            self._tried = (question, version)
        finally:
            if self._task is asyncio.current_task():
                self._task = None
        self.refresh()

    async def _begin(self, question: str, token_ids: list[int], version: int) -> Ready:
        branch = self._context.branch()
        try:
            params = SamplingParams(max_tokens=self._max_tokens)
            turn = begin_turn(
                branch, token_ids, params, limit=self._context.n_ctx, param="prompt", work=WorkClass.BACKGROUND
            )
            async with aclosing(turn.events()) as events:
                first = await anext(events)
                text, ended = first.text, first.finish_reason is FinishReason.STOP
                while not (word := _first_word(text, ended)) and turn.finished is None:
                    event = await anext(events)
                    text, ended = text + event.text, event.finish_reason is FinishReason.STOP
        finally:
            branch.close()
        return Ready(question, version, first.token_id, first.text, first.logit_gap or 0.0, word)


def _first_word(text: str, ended: bool) -> str:
    """Return the first word without what punctuates it; nothing where it may go on."""
    begun = text.lstrip()
    word = begun.split(maxsplit=1)[0] if begun else ""
    return word.rstrip(".,;:!?") if ended or len(word) < len(begun) else ""
