"""Checks of the second generation: event streams and WebSockets."""

from __future__ import annotations

import contextlib

from client import Client
from gen2_material import LINES
from harness import check, equal, refused
from material import ASKED
from websockets.exceptions import ConnectionClosed


@check("sessions.events")
async def what_happens_in_order(c: Client) -> None:
    made = await c.session()
    await c.sessions.flash(made.id, "up?", max_tokens=4)
    async with await c.sessions.events(made.id) as stream:
        first = await anext(stream)
        equal((first.type, first.session_id, first.flash_queries), ("connected", made.id, 1))
        await c.sessions.push(made.id, LINES)
        seen = [await anext(stream)]
        while seen[-1].type != "flash_ready" or seen[-1].data_version < 1:
            seen.append(await anext(stream))
    updated, ready = [event for event in seen if event.data_version == 1]
    equal((updated.type, updated.pending), ("data_updated", 0))
    equal(updated.tokens, (await c.sessions.get(made.id)).data_end)
    equal((ready.type, ready.id, ready.query), ("flash_ready", 1, "up?"))
    async with await c.sessions.events(made.id) as stream:  # a later reader is told what is known
        connected, replayed = await anext(stream), await anext(stream)
    equal((connected.data_version, replayed.value, replayed.confidence), (1, ready.value, ready.confidence))


@check("sessions.events")
async def a_turn_is_an_event(c: Client) -> None:
    made = await c.session()
    async with await c.sessions.events(made.id) as stream:
        await anext(stream)
        await c.chat.create(messages=ASKED, session_id=made.id, max_tokens=2)
        updated = await anext(stream)
    equal((updated.type, updated.data_version), ("data_updated", 1))


@check("sessions.events")
async def they_end_with_the_session(c: Client) -> None:
    made = await c.sessions.create()
    async with await c.sessions.events(made.id) as stream:
        await anext(stream)
        await c.sessions.delete(made.id)
        equal([event async for event in stream], [])


@check("sessions.ws")
async def a_socket_tells_what_happens(c: Client) -> None:
    made = await c.session()
    async with c.socket(made.id) as socket:
        first = await anext(socket)
        equal((first.type, first.data.session_id, first.data.data_version), ("connected", made.id, 0))
        equal(first.data.flash_queries, 0)
        await c.sessions.flash(made.id, "up?", max_tokens=4)
        await socket.push(LINES)
        seen = [await anext(socket)]
        while seen[-1].type != "flash_ready" or seen[-1].data.data_version < 1:
            seen.append(await anext(socket))
    equal([event.type for event in seen][-3:], ["push_ack", "data_updated", "flash_ready"])
    equal((seen[-2].data.data_version, seen[-2].data.pending, seen[-1].data.query), (1, 0, "up?"))


@check("sessions.ws")
async def a_socket_that_is_refused(c: Client) -> None:
    made = await c.session()
    wrong = c.other(api_key="LS-wrong")
    refusals = (
        (wrong, made.id, "AuthenticationError"),
        (c, "sess_nobody", "NotFoundError"),
        (c, "a.b", "BadRequestError"),
    )
    for client, session, kind in refusals:
        error = await refused(kind, _opened(client, session))
        assert error.body["error"]["message"]


@check("sessions.ws")
async def it_ends_with_the_session(c: Client) -> None:
    made = await c.sessions.create()
    async with c.socket(made.id) as socket:
        await anext(socket)
        await c.sessions.delete(made.id)
        equal([event async for event in socket], [])


@check("socket.push")
async def text_and_its_acknowledgement(c: Client) -> None:
    made = await c.session()
    async with c.socket(made.id) as socket:
        await anext(socket)
        await socket.push(LINES[0])
        ack, updated = await anext(socket), await anext(socket)
        equal((ack.type, ack.data.pushed, ack.data.dropped, ack.data.data_version), ("push_ack", 1, 0, 0))
        equal((updated.type, updated.data.data_version), ("data_updated", 1))
        await socket.push(LINES)
        ack = await anext(socket)
        equal((ack.data.pushed, ack.data.total_pushed, ack.data.total_dropped), (3, 4, 0))


@check("socket.push")
async def what_is_no_text_leaves_the_socket_open(c: Client) -> None:
    async with c.socket((await c.session()).id) as socket:
        await anext(socket)
        await socket.push([])
        wrong = await anext(socket)
        equal((wrong.type, wrong.data.code, bool(wrong.data.message)), ("error", 400, True))
        await socket.ping()
        equal((await anext(socket)).type, "pong")


@check("socket.push")
async def a_frame_that_is_too_large_ends_it(c: Client) -> None:
    async with c.socket((await c.session()).id) as socket:
        await anext(socket)
        with contextlib.suppress(ConnectionClosed, OSError):  # the server may hang up before all is sent
            await socket.push("x" * (16 << 20))
        equal([event.type async for event in socket], [])


@check("socket.ping")
async def it_is_answered(c: Client) -> None:
    async with c.socket((await c.session()).id) as socket:
        await anext(socket)
        await socket.ping()
        equal((await anext(socket)).type, "pong")


@check("socket.connect")
async def it_may_be_connected_before_it_is_used(c: Client) -> None:
    socket = await c.sessions.ws((await c.session()).id)
    await socket.connect()
    equal((await anext(socket)).type, "connected")
    await socket.close()


@check("socket.close")
async def a_closed_socket_has_no_more_events(c: Client) -> None:
    made = await c.session()
    async with c.socket(made.id) as socket:
        await anext(socket)
        await socket.close()
        equal([event async for event in socket], [])
    await c.sessions.push(made.id, LINES, wait=True)


async def _opened(c: Client, session: str) -> str:
    async with c.socket(session):
        return session
