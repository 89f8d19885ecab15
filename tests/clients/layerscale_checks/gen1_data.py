"""Checks of the first generation: rows of every type, and figures about them."""

from __future__ import annotations

from typing import get_args

import pydantic
from client import Client
from gen1_material import PROMPT, candles
from harness import check, equal, refused
from layerscale.types import common, sessions, stream_data

ENTRIES = {
    "ohlcv": (stream_data.OHLCVEntry, sessions.OHLCVStats),
    "iot": (stream_data.IoTEntry, sessions.IoTStats),
    "spatial": (stream_data.SpatialEntry, sessions.SpatialStats),
    "event": (stream_data.EventEntry, sessions.EventStats),
    "vitals": (stream_data.VitalsEntry, sessions.VitalsStats),
}


@check("sessions.push")
async def rows_of_each_type(c: Client) -> None:
    equal(set(get_args(common.StreamType)), set(ENTRIES))
    for kind, (entry, stats_type) in ENTRIES.items():
        rows = [pydantic.TypeAdapter(entry).validate_python(row) for row in c.world.rows[kind]]
        session = (await c.session(type=kind, prompt=PROMPT)).session_id
        ack = await c.sessions.push(session, rows, wait=True)
        equal((ack.pushed, ack.dropped, ack.total_enqueued, ack.total_dropped), (len(rows), 0, len(rows), 0))
        stats = await c.sessions.stats(session)
        equal((type(stats), stats.model_dump()), (stats_type, c.world.stats[kind]))
        state = await c.sessions.get(session)
        equal((state.type, state.data_count), (kind, len(rows)))
        field = next(iter(rows[0]))
        await refused("BadRequestError", c.sessions.push(session, [{}]), param=f"data[0].{field}")


@check("sessions.push")
async def acknowledged_at_once(c: Client) -> None:
    session = await candles(c)
    ack = await c.sessions.push(session, c.world.rows["ohlcv"])
    equal((ack.pushed, ack.total_enqueued, ack.queue_size <= 5 <= ack.queue_capacity), (5, 5, True))
    answer = await c.sessions.query(session, prompt="well?", max_tokens=2)  # asked later, so it sees them
    equal(answer.data_version, 1)


@check("sessions.push")
async def a_bad_row_refuses_them_all(c: Client) -> None:
    session = await candles(c)
    good = c.world.rows["ohlcv"][0]
    call = c.sessions.push(session, [good, {**good, "h": "high"}])
    await refused("BadRequestError", call, param="data[1].h", type="invalid_request_error")
    equal((await c.sessions.stream_status(session)).statistics.total_enqueued, 0)


@check("sessions.push")
async def more_than_the_context_holds(c: Client) -> None:
    session = await candles(c, context=700)
    rows = c.world.rows["ohlcv"] * 40
    ack = await c.sessions.push(session, rows, wait=True)  # it ends, whatever became of the rows
    equal(ack.pushed + ack.dropped, len(rows))
    assert (await c.sessions.stream_status(session)).streaming.error


@check("sessions.push")
async def a_window_slides(c: Client) -> None:
    session = await candles(c, context=2000, window_size=400, mark_prefix=True)
    for _ in range(8):
        await c.sessions.push(session, c.world.rows["ohlcv"], wait=True)
    state = await c.sessions.get(session)
    assert 0 < state.data_count < 20, state.data_count
    assert 400 <= state.cache_usage * state.context <= 400 + 200, state.cache_usage  # prompt and header never leave
    equal(((await c.sessions.stats(session)).count, state.data_region.window_size), (40, 400))
    assert (await c.sessions.query(session, prompt="well?", max_tokens=2)).data_version >= 8


@check("sessions.push")
async def waiting_has_a_limit(c: Client) -> None:
    session = await candles(c)
    error = await refused(
        "LayerScaleError", c.sessions.push(session, c.world.rows["ohlcv"], wait=True, wait_timeout=0.0)
    )
    assert "timed out" in str(error)


@check("sessions.stream_status")
async def how_far_the_ingest_is(c: Client) -> None:
    session = await candles(c)
    before = await c.sessions.stream_status(session)
    equal((before.type, before.streaming.running, before.streaming.error), ("ohlcv", True, False))
    equal((before.statistics.items_processed, before.statistics.avg_process_time_us), (0, 0.0))
    await c.sessions.push(session, c.world.rows["ohlcv"], wait=True)
    after = await c.sessions.stream_status(session)
    equal((after.streaming.queue_size, after.statistics.items_processed, after.data.data_count), (0, 5, 5))
    figures = after.statistics
    assert figures.batches_processed >= 1
    assert figures.total_process_time_us > 0
    assert after.data.initialized
    assert 0 < after.data.total_data_tokens < after.data.pos_next


@check("sessions.stats")
async def figures_before_the_first_row(c: Client) -> None:
    for kind, (_, stats_type) in ENTRIES.items():
        found = await c.sessions.stats((await c.session(type=kind)).session_id)
        equal((type(found), found.count), (stats_type, 0))
