"""Bounded queues of listeners."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from kvtape.session.events import DataUpdated, EventHub, FlashReady


def event(version):
    return DataUpdated(version, n_tokens=0, n_pending=0, n_rows=0)


async def read_all(subscription):
    async with aclosing(subscription.batches()) as batches:
        return [item.event.version async for batch in batches for item in batch]


async def test_everybody_sees_every_event_in_order_until_the_end():
    hub = EventHub()
    first = hub.subscribe()
    hub.publish(event(1))
    second = hub.subscribe()
    hub.publish(event(2))
    hub.close()
    assert await read_all(first) == [1, 2]
    assert await read_all(second) == [2]
    assert len(hub) == 0


@pytest.mark.parametrize("capacity", [1, 4])
async def test_a_reader_too_far_behind_is_cut_off_and_nobody_else(capacity):
    hub = EventHub(capacity=capacity)
    slow = hub.subscribe()
    for version in range(capacity):
        hub.publish(event(version))
    assert not slow.ended
    quick = hub.subscribe()
    hub.publish(event(99))
    assert slow.ended
    assert await read_all(slow) == []
    assert len(hub) == 1
    hub.close()
    assert await read_all(quick) == [99]


async def test_a_reader_may_want_to_hear_of_changes_only():
    hub = EventHub()
    everything, changes = hub.subscribe(), hub.subscribe(changes_only=True)
    for version, changed in [(1, True), (2, False), (3, True), (4, False)]:
        hub.publish(event(version))
        hub.publish(FlashReady(1, "up?", "yes", version, 1.0, 0, changed=changed))
    resumed = hub.subscribe(2, changes_only=True)
    hub.close()
    assert await read_all(everything) == [1, 1, 2, 2, 3, 3, 4, 4]
    assert await read_all(changes) == [1, 1, 2, 3, 3, 4]
    assert await read_all(resumed) == [2, 3, 3, 4]


async def test_unsubscribing_ends_delivery():
    hub = EventHub()
    subscription = hub.subscribe()
    hub.unsubscribe(subscription)
    hub.unsubscribe(subscription)
    hub.publish(event(1))
    subscription.end()
    assert await read_all(subscription) == []


@pytest.mark.parametrize(
    ("after", "expected", "resumed"),
    [
        (None, [], False),
        (5, [], True),
        (3, [4, 5], True),
        (2, [3, 4, 5], True),  # the history holds three
        (1, [], False),
        (0, [], False),
        (6, [], False),  # of another session
    ],
)
async def test_a_reader_that_comes_back_goes_on_where_it_was(after, expected, resumed):
    hub = EventHub(capacity=3)
    for version in range(1, 6):
        hub.publish(event(version))
    subscription = hub.subscribe(after)
    assert subscription.resumed == resumed
    assert subscription.after == (after if resumed else 5)
    hub.close()
    assert await read_all(subscription) == expected


async def test_a_session_without_events_can_be_resumed_at_its_beginning():
    hub = EventHub()
    subscription = hub.subscribe(0)
    assert subscription.resumed
    hub.publish(event(1))
    hub.close()
    assert await read_all(subscription) == [1]


async def test_taken_waits_until_the_reader_has_dealt_with_all():
    hub = EventHub()
    subscription = hub.subscribe()
    subscription.put("answer")
    waiting = asyncio.ensure_future(subscription.taken())
    batches = subscription.batches()
    assert await anext(batches) == ["answer"]
    await asyncio.sleep(0)
    assert not waiting.done()
    following = asyncio.ensure_future(anext(batches))
    await waiting
    subscription.end()
    with pytest.raises(StopAsyncIteration):
        await following
