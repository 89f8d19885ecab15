"""Bounded queues of listeners."""

from __future__ import annotations

from contextlib import aclosing

import pytest

from kvtape.session.events import DataUpdated, EventHub


def event(version):
    return DataUpdated(version, n_tokens=0, n_pending=0, n_rows=0)


async def read_all(subscription):
    async with aclosing(subscription.batches()) as batches:
        return [item.version async for batch in batches for item in batch]


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


async def test_unsubscribing_ends_delivery():
    hub = EventHub()
    subscription = hub.subscribe()
    hub.unsubscribe(subscription)
    hub.unsubscribe(subscription)
    hub.publish(event(1))
    subscription.end()
    assert await read_all(subscription) == []
