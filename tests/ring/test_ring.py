from __future__ import annotations

import threading
from collections import deque

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from kvtape import _core
from kvtape.errors import InvalidRequest
from kvtape.ring import RingBuffer

ROW = np.dtype([("k", "<i8"), ("flag", "u1"), ("x", "<f4")])  # 13 bytes: no whole number of words


def rows(first: int, n: int) -> np.ndarray:
    out = np.zeros(n, ROW)
    out["k"] = np.arange(first, first + n)
    out["flag"] = out["k"] % 251
    out["x"] = out["k"] * 0.5
    return out


class RingAgainstDeque(RuleBasedStateMachine):
    overflow = "drop_newest"

    def __init__(self) -> None:
        super().__init__()
        self.ring = RingBuffer(ROW, 8, overflow=self.overflow)
        self.model: deque[int] = deque(maxlen=8)
        self.next = 0
        self.popped = self.dropped = self.refused = 0

    @rule(n=st.integers(0, 20))
    def push(self, n: int) -> None:
        taken = self.ring.push(rows(self.next, n))
        fits = n if self.overflow == "drop_oldest" else min(n, 8 - len(self.model))
        assert taken == fits
        self.dropped += max(0, len(self.model) + fits - 8)
        self.refused += n - fits
        self.model.extend(range(self.next, self.next + fits))
        self.next += fits

    @rule(n=st.integers(0, 20))
    def pop(self, n: int) -> None:
        found = self.ring.pop(n)
        expected = [self.model.popleft() for _ in range(min(n, len(self.model)))]
        assert found.tolist() == [(k, k % 251, k * 0.5) for k in expected]
        self.popped += len(expected)

    @precondition(lambda self: len(self.model) == 8)
    @rule()
    def drain(self) -> None:
        assert self.ring.pop(100)["k"].tolist() == list(self.model)
        self.popped += 8
        self.model.clear()

    @invariant()
    def counts(self) -> None:
        assert len(self.ring) == len(self.model)
        assert self.ring.counters == (self.next, self.popped, self.dropped, self.refused)
        assert self.next == self.popped + self.dropped + len(self.ring)


class RingAgainstDequeDropOldest(RingAgainstDeque):
    overflow = "drop_oldest"


TestDropNewest = RingAgainstDeque.TestCase
TestDropOldest = RingAgainstDequeDropOldest.TestCase
TestDropNewest.settings = TestDropOldest.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)


def test_two_producers_and_a_consumer_in_threads() -> None:
    ring = RingBuffer("<i8", 256)
    n_each = 20_000

    def produce(first: int) -> None:
        values = np.arange(first, first + n_each)
        done = 0
        while done < n_each:
            done += ring.push(values[done : done + 100])

    producers = [threading.Thread(target=produce, args=(first,)) for first in (0, n_each)]
    for thread in producers:
        thread.start()
    found: list[int] = []
    while len(found) < 2 * n_each:
        found += ring.pop(64).tolist()
    for thread in producers:
        thread.join()
    assert [k for k in found if k < n_each] == list(range(n_each))
    assert [k for k in found if k >= n_each] == list(range(n_each, 2 * n_each))
    assert ring.counters.pushed == ring.counters.popped == 2 * n_each


def test_popped_rows_are_a_copy() -> None:
    ring = RingBuffer(ROW, 2, overflow="drop_oldest")
    ring.push(rows(0, 2))
    first = ring.pop(2)
    ring.push(rows(5, 2))
    assert first["k"].tolist() == [0, 1]


@pytest.mark.parametrize("capacity", [0, 3, -4, 6])
def test_capacity_must_be_a_power_of_two(capacity: int) -> None:
    with pytest.raises(InvalidRequest, match=f"power of two, found {capacity}"):
        RingBuffer(ROW, capacity)


@pytest.mark.parametrize("dtype", [object, "V0"])
def test_rows_must_be_plain_values(dtype: object) -> None:
    with pytest.raises(InvalidRequest, match="plain values"):
        RingBuffer(dtype, 4)


def test_unknown_overflow_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="'drop_newest' or 'drop_oldest', found 'block'"):
        RingBuffer(ROW, 4, overflow="block")


def test_wrong_rows_are_refused_and_nothing_is_taken() -> None:
    ring = RingBuffer(ROW, 8)
    with pytest.raises(TypeError, match="dtype"):
        ring.push(np.zeros(3))
    with pytest.raises(TypeError, match="contiguous"):
        ring.push(rows(0, 6)[::2])
    assert ring.counters == (0, 0, 0, 0)


def test_native_ring_takes_buffers() -> None:
    ring = _core.RingBuffer(4, 3, "drop_newest")
    assert ring.push(b"abcdef") == 2
    assert ring.push(bytearray(b"ghi")) == 1
    assert bytes(ring.pop(9)) == b"abcdefghi"
    with pytest.raises(InvalidRequest, match="4 bytes are not a whole number of items of 3"):
        ring.push(b"abcd")
    with pytest.raises(TypeError, match="contiguous"):
        ring.push(memoryview(b"abcdefghijkl")[::2])
