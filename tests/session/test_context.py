"""Rows and appends on their way into the durable context, on the real engine over a tiny random model."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from kvtape.engine import AsyncEngine
from kvtape.errors import ContextOverflow, EngineFailed, InvalidRequest
from kvtape.session.context import MAX_BATCH, LiveContext
from kvtape.session.intake import RING_CAPACITY
from kvtape.session.row_types import ROW_TYPES
from kvtape.session.rows import NameTables, parse_rows
from tests.serving import CANDLES

OHLCV = ROW_TYPES["ohlcv"]


class Log:
    """What a context tells its owner."""

    def __init__(self):
        self.n_data = self.n_changes = self.n_settled = 0

    def on_data(self):
        self.n_data += 1

    def on_change(self):
        self.n_changes += 1

    def on_settled(self):
        self.n_settled += 1


@pytest.fixture
def log():
    return Log()


@pytest.fixture
async def context(tiny_engine, log):
    engine = AsyncEngine.wrap(tiny_engine)
    made = LiveContext(
        engine.open,
        200,
        OHLCV,
        on_data=log.on_data,
        on_change=log.on_change,
        on_settled=log.on_settled,
        now=lambda: 7.0,
    )
    yield made
    await made.close()


def ingest(context, tokens_per_row=10, header=3):
    """Do what the manager's task does, with made-up tokens."""
    batch = context.take_batch()
    if batch is not None:
        context.submit(batch, [5] * header if batch.header else [], [[6] * tokens_per_row for _ in batch.texts])
    return batch


async def test_a_batch_settles_into_a_version(context, log):
    context.begin("p", [1, 2])
    assert (context.version, context.settled_end) == (0, 2)
    ack = context.push(CANDLES)
    assert (ack.n_pushed, ack.n_dropped, ack.n_pending, ack.total_enqueued, ack.version) == (5, 0, 5, 5, 0)
    batch = ingest(context)
    assert len(batch.texts) == 5
    assert all(text.endswith("\n") for text in batch.texts)
    assert (context.version, context.counters.n_processed) == (0, 0)  # not resident yet
    await context.caught_up()
    assert (context.version, context.counters.n_processed, context.counters.n_batches) == (1, 5, 1)
    assert context.settled_end == context.sequence.n_tokens == 2 + 3 + 50
    assert context.sequence.n_cached + 1 >= context.settled_end
    assert (log.n_data, log.n_changes, log.n_settled) == (1, 1, 1)
    assert context.tape.token_ids().tolist() == context.sequence.token_ids().tolist()


async def test_a_second_batch_waits_for_the_first_to_settle(context):
    context.push(CANDLES[:1])
    assert ingest(context) is not None
    context.push(CANDLES[1:])
    assert ingest(context) is None
    await asyncio.sleep(0)
    while context.changing:
        await asyncio.sleep(0.001)
    assert len(ingest(context).texts) == 4
    await context.caught_up()
    assert context.version == 2


async def test_the_header_comes_once(context):
    context.push(CANDLES[:1])
    assert ingest(context).header
    await context.caught_up()
    context.push(CANDLES[1:2])
    assert ingest(context).header == ""
    await context.caught_up()
    assert [entry.kind for entry in context.tape] == ["header", "rows", "rows"]


async def test_bad_rows_are_named_and_nothing_is_queued(context):
    with pytest.raises(InvalidRequest) as caught:
        context.push([*CANDLES[:2], {"o": 1, "h": 1, "l": "low", "c": 1, "v": 1}])
    assert caught.value.param == "data[2].l"
    assert context.n_pending == 0
    assert context.counters.total_enqueued == 0


async def test_an_array_goes_into_the_ring_as_it_is(context):
    context.names["sym"].extend(["AAPL"])
    rows = parse_rows(OHLCV, CANDLES, NameTables(OHLCV))
    assert context.push(rows).n_pushed == len(CANDLES)
    assert np.array_equal(context.take_batch().rows, rows)
    rows["c"][2] = np.nan
    with pytest.raises(InvalidRequest) as caught:
        context.push(rows)
    assert caught.value.param == "data[2].c"
    assert context.counters.total_enqueued == len(CANDLES)


async def test_a_full_ring_drops_the_newest_rows_and_says_so(context):
    context.push(CANDLES[:1] * (RING_CAPACITY - 2))
    ack = context.push(CANDLES)
    assert (ack.n_pushed, ack.n_dropped, ack.n_pending) == (2, 3, RING_CAPACITY)
    assert (ack.total_enqueued, ack.total_dropped) == (RING_CAPACITY, 3)


async def test_batches_are_bounded(context):
    context.push(CANDLES[:1] * (MAX_BATCH + 1))
    assert len(context.take_batch().rows) == MAX_BATCH


async def test_a_full_context_takes_what_fits_and_still_counts_every_row(context):
    context.begin("p", [1] * 100)
    context.push(CANDLES * 4)
    ingest(context)  # 97 tokens are left, 10 a row
    await context.caught_up()
    assert context.tape.n_rows == 9
    assert (context.full, context.stopped, context.version) == (True, True, 1)
    assert (context.counters.n_processed, context.counters.total_dropped) == (20, 11)
    ack = context.push(CANDLES)
    assert (ack.n_pushed, ack.n_dropped, ack.total_enqueued) == (0, 5, 20)
    await context.caught_up()


async def test_rows_accepted_before_the_context_filled_up_settle_too(context):
    context.begin("p", [1] * 190)
    context.push(CANDLES)
    batch = context.take_batch()
    context.push(CANDLES)  # accepted: nobody knows yet
    context.submit(batch, [5] * 3, [[6] * 10 for _ in batch.texts])
    await asyncio.sleep(0)
    while context.changing:
        await asyncio.sleep(0.001)
    ingest(context, tokens_per_row=1)  # would fit, but what came before it did not
    await context.caught_up()
    assert context.tape.n_rows == 0
    assert (context.version, context.counters.n_processed, context.counters.total_dropped) == (2, 10, 10)


async def test_an_append_goes_behind_earlier_rows_and_before_later_ones(context):
    context.push(CANDLES[:2])
    appending = asyncio.create_task(context.append("x", [9, 9]))
    await asyncio.sleep(0)
    context.push(CANDLES[2:])
    assert len(ingest(context).texts) == 2
    await appending
    while context.changing:
        await asyncio.sleep(0.001)
    assert len(ingest(context).texts) == 3
    await context.caught_up()
    assert [(entry.kind, entry.version) for entry in context.tape] == [
        ("header", 1), ("rows", 1), ("text", 2), ("rows", 3),
    ]  # fmt: skip


async def test_a_branch_is_the_current_version_without_what_is_on_its_way(context):
    context.begin("p", [1, 2, 3])
    await context.sequence.resident()
    context.push(CANDLES)
    ingest(context)
    branch = context.branch()
    assert branch.token_ids().tolist() == [1, 2, 3]
    branch.close()


async def test_overflow_at_the_start_and_in_appends(context):
    with pytest.raises(ContextOverflow) as caught:
        context.begin("p", [1] * 200)
    assert caught.value.param == "prompt"
    context.begin("p", [1] * 199)
    with pytest.raises(ContextOverflow):
        await context.append("xy", [1, 2])
    await context.append("x", [1])
    await context.caught_up()
    assert context.sequence.n_tokens == 200


async def test_a_fault_wakes_whoever_waits(context):
    context.push(CANDLES)
    waiting = asyncio.create_task(context.caught_up())
    await asyncio.sleep(0)
    context.turns.fail(RuntimeError("broken"))
    with pytest.raises(EngineFailed, match="broken"):
        await waiting
    assert context.stopped
    assert context.take_batch() is None
    assert context.push(CANDLES).n_pushed == 0


async def test_a_feed_waits_for_room(context):
    await context.feed(CANDLES[:1] * (RING_CAPACITY - 2))
    feeding = asyncio.create_task(context.feed([*CANDLES, "and a text"]))
    await asyncio.sleep(0.01)
    assert not feeding.done()
    context.n_ctx = 1_000_000  # of made-up tokens, of which a row has none here
    while not feeding.done():
        ingest(context, tokens_per_row=0, header=0)
        await asyncio.sleep(0)
    await feeding
    assert (context.counters.total_enqueued, context.counters.total_dropped) == (RING_CAPACITY + 4, 0)


async def test_a_feed_ends_where_nothing_fits_any_more(context):
    feeding = asyncio.create_task(context.feed(CANDLES * RING_CAPACITY))
    while not feeding.done():
        ingest(context)
        await asyncio.sleep(0)
    with pytest.raises(ContextOverflow):
        await feeding
    assert context.full


async def test_texts_are_ingested_in_their_place(context):
    ack = context.push(["first", *CANDLES[:2], "last\n"])
    assert (ack.n_pushed, ack.n_pending) == (4, 4)
    while context.n_pending:
        ingest(context)
        await asyncio.sleep(0)
    await context.caught_up()
    assert [(entry.kind, entry.text) for entry in context.tape if entry.kind != "header"] == [
        ("text", "first\n"), ("rows", ""), ("text", "last\n"),
    ]  # fmt: skip
    assert (context.counters.n_processed, context.n_rows) == (4, 2)
