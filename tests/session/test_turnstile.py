"""One change at a time, in the order of what was acknowledged."""

from __future__ import annotations

import asyncio

import pytest

from kvtape.errors import EngineFailed
from kvtape.session.turnstile import Turnstile


class Source:
    """Entries that settle one by one, whenever the turnstile lets them."""

    def __init__(self):
        self.n_settled = self.n_accepted = 0
        self.log: list[str] = []
        self.turns = Turnstile(lambda: self.n_settled, on_free=self.go_on)

    def go_on(self):
        most = self.turns.try_take()
        if self.n_settled < self.n_accepted and (most is None or most > 0):
            self.turns.taken = True
            self.turns.start(self.settle)

    async def settle(self):
        await asyncio.sleep(0)
        self.n_settled += 1
        self.log.append(f"entry {self.n_settled}")
        self.turns.release()

    def accept(self, n):
        self.n_accepted += n
        self.go_on()

    async def change(self, name):
        async with self.turns.turn(self.n_accepted):
            assert self.turns.taken
            await asyncio.sleep(0)
            self.log.append(name)


async def test_changes_come_after_what_was_accepted_before_them_and_before_the_rest():
    source = Source()
    source.accept(2)
    first = asyncio.create_task(source.change("first"))
    second = asyncio.create_task(source.change("second"))
    await asyncio.sleep(0)
    source.accept(2)
    await asyncio.gather(first, second)
    await source.turns.wait_until(lambda: source.n_settled == 4)
    assert source.log == ["entry 1", "entry 2", "first", "second", "entry 3", "entry 4"]
    assert not source.turns.taken


async def test_whoever_gives_up_waiting_holds_nobody_up():
    source = Source()
    source.accept(1)
    gone = asyncio.create_task(source.change("gone"))
    await asyncio.sleep(0)
    source.accept(1)
    gone.cancel()
    await source.turns.wait_until(lambda: source.n_settled == 2)
    assert source.log == ["entry 1", "entry 2"]


async def test_a_change_that_fails_ends_its_turn():
    turns = Turnstile(lambda: 0, on_free=lambda: None)
    with pytest.raises(ValueError, match="no"):
        async with turns.turn(0):
            raise ValueError("no")
    assert turns.try_take() is None


async def test_a_fault_ends_everything():
    turns = Turnstile(lambda: 0, on_free=lambda: None)

    async def wait():
        async with turns.turn(5):
            pass

    waiting = asyncio.create_task(wait())
    await asyncio.sleep(0)

    async def broken():
        raise RuntimeError("broken")

    turns.start(broken)
    with pytest.raises(EngineFailed, match="broken"):
        await waiting
    assert turns.try_take() == 0


async def test_closing_cancels_work_in_the_background():
    turns = Turnstile(lambda: 0, on_free=lambda: None)
    turns.start(asyncio.Event().wait)
    turns.start(asyncio.Event().wait)
    await turns.close()
    with pytest.raises(EngineFailed, match="deleted"):
        await turns.wait_until(lambda: False)
