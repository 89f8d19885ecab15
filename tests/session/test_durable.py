"""Windows: whole rows leave, the head stays, positions start anew, and each version is what the tape says."""

from __future__ import annotations

import asyncio
import tracemalloc

import numpy as np
import pytest

from kvtape.engine import AsyncEngine
from kvtape.errors import ContextOverflow, InvalidRequest
from kvtape.session.context import LiveContext
from kvtape.session.row_types import ROW_TYPES
from kvtape.session.tape import EntryKind
from tests.serving import CANDLES
from tests.session.replay import assert_replayable, logprobs

OHLCV = ROW_TYPES["ohlcv"]
N_CTX, WINDOW = 300, 100


@pytest.fixture
def engine(tiny_engine):
    return AsyncEngine.wrap(tiny_engine)


@pytest.fixture
async def open_context(engine):
    made = []

    def make(*, n_ctx=N_CTX, window=WINDOW, row_type=OHLCV, policy="drop_newest"):
        context = LiveContext(
            engine.open,
            n_ctx,
            row_type,
            window=window,
            policy=policy,
            on_data=lambda: None,
            on_change=lambda: None,
            on_settled=lambda: None,
            now=lambda: 7.0,
        )
        made.append(context)
        return context

    yield make
    for context in made:
        await context.close()


async def ingest(context, rng, *, tokens_per_row=10, header=3):
    """Take up all that waits, with made-up tokens."""
    while context.n_pending:
        batch = context.take_batch()
        if batch is None:
            await asyncio.sleep(0)
            continue
        ids = [rng.integers(3, 250, tokens_per_row).tolist() for _ in batch.texts]
        context.submit(batch, rng.integers(3, 250, header).tolist() if batch.header else [], ids)
    await context.caught_up()


async def push(context, rng, n_rows, **options):
    for begin in range(0, n_rows, len(CANDLES)):
        context.push(CANDLES[: n_rows - begin])
        await ingest(context, rng, **options)


async def test_whole_rows_leave_and_the_head_stays(engine, open_context, rng):
    context = open_context()
    context.begin("p", [1, 2, 3, 4])
    await push(context, rng, 12)
    tape = context.tape
    assert (context.n_rows, context.n_evicted, tape.n_rows) == (10, 2, 12)
    assert context.sequence.hole == (7, 27) == (tape.head_end, tape.kept_from)
    assert [entry.start for entry in tape if entry.kind is EntryKind.EVICT][-1] == 27
    assert context.settled_end == context.sequence.n_tokens == 7 + 120
    await assert_replayable(engine, context)


async def test_the_window_starts_anew_before_the_positions_run_out(engine, open_context, rng):
    context = open_context()
    context.begin("p", [1, 2, 3, 4])
    versions = [context.version]
    for _ in range(80):
        await push(context, rng, 5)
        versions.append(context.version)
        assert context.sequence.n_tokens <= N_CTX
        assert context.n_rows <= 10
        assert context.sequence.n_cached + 1 >= context.settled_end
    assert versions == sorted(set(versions))
    assert context.n_rebases >= 400 * 10 // (N_CTX - WINDOW - 7) - 1
    assert (context.tape.n_rows, context.n_rows, context.n_evicted) == (400, 10, 390)
    assert context.counters.n_processed == 400
    assert sum(len(entry.rows) for entry in context.tape if entry.rows is not None) < N_CTX // 10
    await assert_replayable(engine, context)


async def test_every_version_is_what_the_tape_says(engine, open_context, rng):
    context = open_context()
    context.begin("p", [5])
    for n_rows in rng.integers(1, 20, 60).tolist():
        await push(context, rng, n_rows, tokens_per_row=int(rng.integers(1, 25)))
        await assert_replayable(engine, context)
    assert context.n_rebases > 5


async def test_data_goes_on_while_the_window_is_computed_afresh(engine, open_context, rng):
    context = open_context(n_ctx=2000, window=900)
    context.begin("p", [5])
    during = 0
    for _ in range(1000):
        during += context._rebasing is not None
        await push(context, rng, 1, tokens_per_row=15)
    assert context.n_rebases > 5
    assert during > context.n_rebases  # batches settled while a rebase was on its way
    await assert_replayable(engine, context)


async def test_a_push_larger_than_the_window_leaves_its_newest_rows(engine, open_context, rng):
    context = open_context()
    context.begin("p", [1, 2])
    context.push(CANDLES * 20)
    batch = context.take_batch()
    spelled_out = [text.startswith("@") for text in batch.texts]
    assert spelled_out[:4] == [True, False, True, False]  # twice a window, by what a row is taken to cost
    context.submit(batch, [], [[6] * 10] * 99 + [[6] * 101])
    await context.turns.wait_until(lambda: not context.changing)
    assert (context.n_rows, context.n_evicted, context.counters.n_processed) == (0, 100, 100)
    context.push(CANDLES * 20)
    await ingest(context, rng)
    assert (context.n_rows, context.n_evicted, context.counters.n_processed) == (10, 190, 200)
    assert context.stats.summary()["count"] == 200
    await assert_replayable(engine, context)


async def test_texts_have_windows_too(engine, open_context, rng):
    context = open_context(row_type=None, policy="drop_oldest")
    context.begin("", [])
    for n in range(200):
        context.push([f"line {n}", "more"])
        await ingest(context, rng, tokens_per_row=int(rng.integers(0, 12)))
    assert context.n_rebases > 3
    assert context.n_evicted > 350
    assert context.tape.n_tokens - context.tape.kept_from <= WINDOW
    await assert_replayable(engine, context)


async def test_texts_that_left_make_way_for_the_header(engine, open_context, rng):
    context = open_context()
    context.begin("p", [1, 2])
    for _ in range(15):
        context.push(["a line"])
        await ingest(context, rng)
    assert context.sequence.hole == (2, 52)
    await push(context, rng, 3)
    assert context.tape.head_end == 2 + 100 + 3  # texts before the first row are part of the head from then on
    assert context.n_rows == 3
    await assert_replayable(engine, context)


async def test_what_is_frozen_never_leaves(engine, open_context, rng):
    context = open_context()
    context.begin("p", [1, 2, 3, 4])
    await push(context, rng, 12)
    assert await context.mark_prefix() == 7 + 100  # of twelve rows, two had left
    frozen = context.sequence.token_ids()[:107].tolist()
    await push(context, rng, 50)
    assert context.n_rebases > 2
    assert context.sequence.token_ids()[:107].tolist() == frozen
    assert context.n_rows == 20
    await assert_replayable(engine, context)
    with pytest.raises(InvalidRequest) as caught:
        await context.mark_prefix()
    assert caught.value.param == "window"
    assert context.prefix_end == 107


async def test_appends_and_turns_leave_as_a_whole(engine, open_context, rng):
    context = open_context()
    context.begin("p", [1])
    await context.append("x", [9] * 30)
    for _ in range(8):
        async with context.change() as change:
            await change.make_room(12)
            sequence = change.fork()
            sequence.append([8] * 12)
            await change.commit(sequence, [8] * 12)
        await assert_replayable(engine, context)
    assert context.n_evicted == 1
    assert context.sequence.hole == (1, 31)
    with pytest.raises(ContextOverflow):
        await context.append("x", [9] * (WINDOW + 1))


async def test_an_append_that_has_begun_is_finished_though_its_client_leaves(engine, open_context, rng):
    context = open_context(window=None, n_ctx=2000)
    context.begin("p", [1])
    await push(context, rng, 2)
    version = context.version
    appending = asyncio.create_task(context.append("x", [9] * 1500))
    while context.sequence.n_tokens < 1500:
        await asyncio.sleep(0)
    appending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await appending
    assert context.version == version + 1
    async with context.change() as change:
        sequence = change.fork()
        sequence.append([8] * 12)
        await change.commit(sequence, [8] * 12)
    await assert_replayable(engine, context)


async def test_turns_may_be_taken_back(engine, open_context, rng):
    context = open_context(window=None, n_ctx=1000)
    context.begin("p", [1])
    for turn in range(3):
        await push(context, rng, 2)
        async with context.change() as change:
            sequence = change.fork()
            sequence.append([20 + turn] * 5)
            await change.commit(sequence, [20 + turn] * 5)
    rows = [entry.token_ids.tolist() for entry in context.tape if entry.kind is EntryKind.ROWS]
    async with context.change() as change:
        sequence = change.without_turns(2)
        sequence.append([30] * 4)
        await change.commit(sequence, [30] * 4, n_dropped=2)
    turns = [entry.token_ids.tolist() for entry in context.tape if entry.kind is EntryKind.TURN]
    assert turns == [[20] * 5, [30] * 4]
    assert [entry.token_ids.tolist() for entry in context.tape if entry.kind is EntryKind.ROWS] == rows
    assert context.n_rows == 6
    await assert_replayable(engine, context)


async def test_an_opening_may_be_written_otherwise(engine, open_context):
    context = open_context(window=None, n_ctx=1000)
    context.begin("p", [1, 2])
    for opening in ([3, 4, 5], [6]):
        async with context.change() as change:
            sequence = change.reopened(opening)
            sequence.append([20] * 4)
            await change.commit(sequence, [20] * 4, n_dropped=1, opening=("q", opening))
        assert context.tape.token_ids().tolist() == [*opening, *[20] * 4]
        assert context.n_prompt == len(opening)
        await assert_replayable(engine, context)
    assert context.version == 2


async def test_a_change_that_is_not_committed_changes_nothing(engine, open_context, rng):
    context = open_context()
    context.begin("p", [1])
    await push(context, rng, 3)
    before, version = await logprobs(context.sequence), context.version
    async with context.change() as change:
        sequence = change.fork()
        sequence.append([8] * 12)
        sequence.close()
    assert (await logprobs(context.sequence), context.version) == (before, version)


async def test_a_window_needs_room_to_move(open_context):
    with pytest.raises(InvalidRequest) as caught:
        open_context(window=N_CTX).begin("p", [1])
    assert caught.value.param == "window"


async def test_room_is_made_for_a_long_question(open_context, rng):
    context = open_context()
    context.begin("p", [1])
    await push(context, rng, 24)
    assert context.sequence.n_tokens == 1 + 3 + 240
    await context.make_room(50)
    assert context.sequence.n_tokens == 244
    await context.make_room(100)
    assert context.sequence.n_tokens == 104


async def test_kv_that_is_taken_away_is_computed_afresh(make_tiny_model, rng):
    path = make_tiny_model(n_ctx=512)
    async with AsyncEngine(path, n_ctx=480, kv_memory="1M", n_threads=1) as engine:
        settled = []
        contexts = [
            LiveContext(
                engine.open, 480, OHLCV, window=200, on_data=lambda: None, on_change=lambda: None,
                on_settled=lambda: settled.append(1), now=lambda: 7.0,
            )
            for _ in range(12)
        ]  # fmt: skip
        for context in contexts:
            context.begin("p", [1])
        n_lost = 0
        for _ in range(6):
            for context in contexts:
                await push(context, rng, 10)
                n_lost += sum(other.sequence.lost for other in contexts)
        assert n_lost > 10  # there is not enough memory for all
        for context in contexts:
            await context.recover()
            assert (context.n_rows, context.tape.n_rows) == (20, 60)
            await assert_replayable(engine, context)
            await context.close()
        engine.core.native.check_integrity()


@pytest.mark.parametrize("n_rows", [20_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
async def test_weeks_of_rows_take_no_more_memory(engine, open_context, rng, n_rows):
    context = open_context(n_ctx=2000, window=600)
    context.begin("p", [5])
    rows = np.zeros(100, OHLCV.dtype)  # as many as the window holds
    context.names.add_defaults()
    sizes = []
    tracemalloc.start()
    try:
        for n_pushed in range(0, n_rows, len(rows)):
            rows["timestamp"] = 60 * np.arange(n_pushed, n_pushed + len(rows))
            rows["c"] = rng.uniform(1, 2, len(rows))
            context.push(rows)
            await ingest(context, rng, tokens_per_row=6)
            if n_pushed % (n_rows // 20) == 0:
                sizes.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert (context.tape.n_rows, context.n_rows) == (n_rows, 100)
    assert context.counters.n_processed == context.stats.summary()["count"] == n_rows
    assert context.n_rebases > n_rows * 6 // 2000
    assert max(sizes[10:]) < 1.3 * max(sizes[2:10])
    await assert_replayable(engine, context)
