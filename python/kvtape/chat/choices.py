"""Several generations for one request: n choices of each prompt, on forks of one prefilled sequence."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import TypeVar

from kvtape.chat.conversation import Turn
from kvtape.types import TokenEvent, Usage

__all__ = ["Choices", "merge", "most_probable"]

T = TypeVar("T")


class Choices:
    """The generations of one request: iterate `events`, or await `collect`, then `close` in any case.

    A choice is known by its index: that of its prompt times n, plus its own among the n.

    Args:
        turns: one a prompt, not started yet; they are closed with this.
        n: choices of each prompt.
    """

    def __init__(self, turns: Sequence[Turn], n: int = 1) -> None:
        self.usage = Usage(0, 0, 0)  # of the choices that have ended: each prompt counts once, all completions do
        self.prompts = list(turns)
        self._turns = list(turns)
        self._n = n

    def __len__(self) -> int:
        return len(self.prompts) * self._n

    async def events(self) -> AsyncGenerator[tuple[int, TokenEvent], None]:
        """Yield (index, event) as the tokens come; the choices run together.

        Raises:
            EngineFailed: the engine gave a generation up; the others are cancelled.
        """
        async with aclosing(merge([self._choices_of(turn) for turn in self.prompts])) as merged:
            async for prompt, (choice, event) in merged:
                if event.finished and event.usage is not None:
                    self._count(event.usage, first=choice == 0)
                yield prompt * self._n + choice, event

    async def collect(self) -> list[list[TokenEvent]]:
        """Run all to the end and return the events of each, by index."""
        collected: list[list[TokenEvent]] = [[] for _ in range(len(self))]
        async with aclosing(self.events()) as events:
            async for index, event in events:
                collected[index].append(event)
        return collected

    def close(self) -> None:
        """Give the sequences back; what still runs on them is cancelled."""
        for turn in self._turns:
            turn.close()

    async def _choices_of(self, first: Turn) -> AsyncGenerator[tuple[int, TokenEvent], None]:
        turns = [first]
        if self._n > 1:
            await first.sequence.resident()  # forks share what is there: the prompt is computed once
            for choice in range(1, self._n):
                turns.append(first.fork(choice))
                self._turns.append(turns[-1])
        async with aclosing(merge([turn.events() for turn in turns])) as merged:
            async for item in merged:
                yield item

    def _count(self, usage: Usage, *, first: bool) -> None:
        total = self.usage
        self.usage = Usage(
            prompt_tokens=total.prompt_tokens + (usage.prompt_tokens if first else 0),
            completion_tokens=total.completion_tokens + usage.completion_tokens,
            cached_tokens=total.cached_tokens + (usage.cached_tokens if first else 0),
        )


async def merge(streams: Sequence[AsyncGenerator[T, None]]) -> AsyncGenerator[tuple[int, T], None]:
    """Yield (index, item) of several streams as the items come, in the order of the streams where several are there.

    All streams are closed when one fails and when this is closed.
    """
    waiting: dict[asyncio.Future[T], int] = {}

    def wait_for(index: int) -> None:
        waiting[asyncio.ensure_future(anext(streams[index]))] = index

    try:
        if len(streams) == 1:  # nearly always; spares a task an item
            async for item in streams[0]:
                yield 0, item
            return
        for index in range(len(streams)):
            wait_for(index)
        while waiting:
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for future in sorted(done, key=waiting.__getitem__):
                try:
                    item = future.result()
                except StopAsyncIteration:
                    del waiting[future]
                    continue
                index = waiting.pop(future)
                yield index, item
                wait_for(index)
    finally:
        for future in waiting:
            future.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        for stream in streams:
            await stream.aclose()


def most_probable(candidates: Sequence[list[TokenEvent]], n: int) -> list[list[TokenEvent]]:
    """Return the n candidates with the highest log-probability a token, best first; the earlier one among equals."""

    def mean_logprob(events: list[TokenEvent]) -> float:
        return sum(event.logprob or 0.0 for event in events) / len(events)

    return sorted(candidates, key=mean_logprob, reverse=True)[:n]
