"""Checks of the first generation: event streams and WebSockets."""

from __future__ import annotations

import json
import time

from client import Client
from gen1_material import PROMPT, UP, candles
from harness import check, equal
from material import says
from websockets.exceptions import InvalidStatus


@check("sessions.events")
async def what_happens_in_order(c: Client) -> None:
    session = await candles(c, flash=[UP])
    async with await c.sessions.events(session) as stream:
        first = await anext(stream)
        equal((first.type, first.session_id, first.data_version, first.flash_queries), ("connected", session, 0, 1))
        await c.sessions.push(session, c.world.rows["ohlcv"])
        updated, ready = await anext(stream), await anext(stream)
    equal((updated.type, updated.data_version, updated.data_count), ("data_updated", 1, 5))
    equal(updated.pos_next, (await c.sessions.get(session)).n_tokens)
    equal((ready.type, ready.id, ready.query, ready.data_version), ("flash_ready", 1, "up?", 1))
    async with await c.sessions.events(session) as stream:  # a later reader is told what is known
        connected, replayed = await anext(stream), await anext(stream)
    equal((connected.data_version, replayed.value, replayed.evaluated_at), (1, ready.value, ready.evaluated_at))


@check("sessions.events")
async def what_some_take_for_the_end_of_a_line(c: Client) -> None:
    scripted = c.other("scripted")
    flash = [{"query": says("lines"), "max_tokens": 100}]
    session = (await scripted.session(type="ohlcv", prompt=PROMPT, flash=flash)).session_id
    async with await scripted.sessions.events(session) as stream:
        await anext(stream)
        await scripted.sessions.push(session, c.world.rows["ohlcv"])
        _, ready = await anext(stream), await anext(stream)
    equal(ready.value, c.world.lines)


@check("sessions.events")
async def they_end_with_the_session(c: Client) -> None:
    session = (await c.sessions.create(type="ohlcv")).session_id
    async with await c.sessions.events(session) as stream:
        await anext(stream)
        await c.sessions.delete(session)
        equal([event async for event in stream], [])


@check("sessions.stream")
async def a_socket_tells_what_happens(c: Client) -> None:
    session = await candles(c, flash=[UP])
    async with c.socket(session) as socket:
        first = await anext(socket)
        equal((first.type, first.data.session_id, first.data.data_version), ("connected", session, 0))
        equal((first.data.flash_queries, first.data.streaming), (1, True))
        await socket.push(c.world.rows["ohlcv"])
        seen = [await anext(socket) for _ in range(3)]
    equal([event.type for event in seen], ["push_ack", "data_updated", "flash_ready"])
    equal((seen[1].data.data_version, seen[1].data.data_count), (1, 5))
    equal((seen[2].data.query, seen[2].data.data_version), ("up?", 1))
    assert abs(seen[2].data.evaluated_at - time.time()) < 60


@check("sessions.stream")
async def a_socket_that_is_refused(c: Client) -> None:
    session = await candles(c)
    wrong = c.other(api_key="LS-wrong")
    for client, wanted, status in ((wrong, session, 401), (c, "sess_nobody", 404), (c, "a.b", 400)):
        refusal = None
        try:
            async with client.socket(wanted):
                pass
        except InvalidStatus as error:  # this generation has no exception of its own for it
            refusal = error.response
        assert refusal is not None, f"opened for {wanted}"
        equal((refusal.status_code, bool(json.loads(refusal.body)["error"]["message"])), (status, True))


@check("sessions.stream")
async def it_ends_with_the_session(c: Client) -> None:
    session = (await c.sessions.create(type="ohlcv")).session_id
    async with c.socket(session) as socket:
        await anext(socket)
        await c.sessions.delete(session)
        equal([event async for event in socket], [])


@check("socket.push")
async def rows_and_their_acknowledgement(c: Client) -> None:
    session = await candles(c)
    async with c.socket(session) as socket:
        await anext(socket)
        await socket.push(c.world.rows["ohlcv"])
        ack = await anext(socket)
        equal((ack.type, ack.data.pushed, ack.data.dropped), ("push_ack", 5, 0))
        assert ack.data.queue_size <= 5


@check("socket.push")
async def a_bad_row_leaves_the_socket_open(c: Client) -> None:
    async with c.socket(await candles(c)) as socket:
        await anext(socket)
        await socket.push([{"o": 1.0}])
        wrong = await anext(socket)
        equal((wrong.type, wrong.data.code), ("error", 400))
        assert "data[0].h" in wrong.data.message
        await socket.ping()
        equal((await anext(socket)).type, "pong")


@check("socket.ping")
async def it_isanswered(c: Client) -> None:
    async with c.socket(await candles(c)) as socket:
        await anext(socket)
        await socket.ping()
        equal((await anext(socket)).type, "pong")


@check("socket.connect")
async def it_may_be_connected_before_it_is_used(c: Client) -> None:
    socket = await c.sessions.stream(await candles(c))
    await socket.connect()
    equal((await anext(socket)).type, "connected")
    await socket.close()


@check("socket.close")
async def a_closed_socket_has_no_more_events(c: Client) -> None:
    session = await candles(c)
    async with c.socket(session) as socket:
        await anext(socket)
        await socket.close()
        equal([event async for event in socket], [])
    await c.sessions.push(session, c.world.rows["ohlcv"], wait=True)
