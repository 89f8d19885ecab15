"""Several generations for one request: n choices of each prompt, on forks of one prefilled sequence."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Generic, TypeVar

from kvtape.chat.conversation import Turn
from kvtape.types import TokenEvent, Usage

__all__ = ["Choices", "merge", "most_probable"]

T = TypeVar("T")
TurnT = TypeVar("TurnT", bound=Turn)


class Choices(Generic[TurnT, T]):
    """The generations of one request: iterate `items`, or await `collect`, then `close` in any case.

    A choice is known by its index: that of its prompt times n, plus its own among the n.

    Args:
        turns: one a prompt, not started yet; they are closed with this.
        read: what is read of a turn: `Turn.events` or `ChatTurn.steps`.
        n: choices of each prompt.
    """

    def __init__(self, turns: Sequence[TurnT], read: Callable[[TurnT], AsyncGenerator[T, None]], *, n: int = 1) -> None:
        self.prompts = list(turns)
        self._forks: list[TurnT] = []
        self._read = read
        self._n = n

    def __len__(self) -> int:
        return len(self.prompts) * self._n

    @property
    def usage(self) -> Usage:
        """Of the choices that have ended: each prompt counts once, all completions do."""
        prompts = [turn.finished.usage for turn in self.prompts if turn.finished and turn.finished.usage]
        forks = [turn.finished.usage for turn in self._forks if turn.finished and turn.finished.usage]
        return Usage(
            prompt_tokens=sum(usage.prompt_tokens for usage in prompts),
            completion_tokens=sum(usage.completion_tokens for usage in [*prompts, *forks]),
            cached_tokens=sum(usage.cached_tokens for usage in prompts),
        )

    async def items(self) -> AsyncGenerator[tuple[int, T], None]:
        """Yield (index, item), one a token, as the tokens come; the choices run together.

        Raises:
            EngineFailed: the engine gave a generation up; the others are cancelled.
        """
        async with aclosing(merge([self._choices_of(turn) for turn in self.prompts])) as merged:
            async for prompt, (choice, item) in merged:
                yield prompt * self._n + choice, item

    async def collect(self) -> list[list[T]]:
        """Run all to the end and return the items of each, by index."""
        collected: list[list[T]] = [[] for _ in range(len(self))]
        async with aclosing(self.items()) as items:
            async for index, item in items:
                collected[index].append(item)
        return collected

    def close(self) -> None:
        """Give the sequences back; what still runs on them is cancelled."""
        for turn in [*self.prompts, *self._forks]:
            turn.close()

    async def _choices_of(self, first: TurnT) -> AsyncGenerator[tuple[int, T], None]:
        turns = [first]
        if self._n > 1:
            await first.sequence.resident()  # forks share what is there: the prompt is computed once
            for choice in range(1, self._n):
                turns.append(first.fork(choice))
                self._forks.append(turns[-1])
        async with aclosing(merge([self._read(turn) for turn in turns])) as merged:
            async for item in merged:
                yield item


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
