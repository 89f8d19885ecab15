"""Checks of the second generation: sessions, text that is pushed, flash queries."""

from __future__ import annotations

import time

from client import Client
from gen2_material import LINES, fresh
from harness import check, equal, eventually, refused


@check("sessions.create")
async def the_least_that_can_be_asked_for(c: Client) -> None:
    made = await c.session()
    equal((made.id[:5], made.object, made.data_version, made.pending), ("sess_", "session", 0, 0))
    equal((made.busy, made.turns, made.evicted, made.pre_decode, made.ready), (False, 0, 0, False, False))
    equal((made.frozen_end, made.window, made.ready_token, made.ready_gap), (None,) * 4)
    assert abs(made.created - time.time()) < 60


@check("sessions.create")
async def what_was_asked_for_is_confirmed(c: Client) -> None:
    made = await c.session(id="ticker-feed_1", pre_decode=True, window=512)
    equal((made.id, made.pre_decode, made.window), ("ticker-feed_1", True, 512))
    equal((await c.sessions.get("ticker-feed_1")).window, 512)


@check("sessions.create")
async def an_id_that_is_no_id(c: Client) -> None:
    for wrong in ("a b", "", "x" * 129, "a/b"):
        await refused("BadRequestError", c.sessions.create(id=wrong))


@check("sessions.list")
async def sessions_in_the_order_of_their_making(c: Client) -> None:
    made = [(await c.session(id=name)).id for name in ("listed-b", "listed-a")]
    listed = await c.sessions.list()
    equal((listed.object, [item.id for item in listed.data if item.id in made]), ("list", made))


@check("sessions.get")
async def the_state_of_a_session(c: Client) -> None:
    made = await c.session()
    await c.sessions.push(made.id, LINES, wait=True)
    state = await c.sessions.get(made.id)
    equal((state.id, state.created, state.data_version, state.pending), (made.id, made.created, 1, 0))
    equal((state.tokens, state.kv_tokens + 1 >= state.data_end), (state.data_end, True))
    assert state.tokens > made.tokens
    await c.sessions.generate(made.id, prompt="well?", max_tokens=4)
    asked = await c.sessions.get(made.id)
    equal((asked.data_end, asked.data_version), (state.data_end, 1))
    assert asked.tokens >= asked.data_end
    if c.world.version >= (0, 8):
        assert asked.created <= asked.last_used <= time.time()


@check("sessions.delete")
async def a_deleted_session_is_gone(c: Client) -> None:
    made = await c.sessions.create()
    gone = await c.sessions.delete(made.id)
    equal((gone.id, gone.object, gone.deleted), (made.id, "session.deleted", True))
    for call in (c.sessions.delete(made.id), c.sessions.get(made.id), c.sessions.push(made.id, "x")):
        await refused("NotFoundError", call)


@check("sessions.push")
async def text_and_lists_of_text(c: Client) -> None:
    made = await c.session()
    first = await c.sessions.push(made.id, LINES[0], wait=True)
    equal((first.pushed, first.dropped, first.total_pushed, first.total_dropped, first.data_version), (1, 0, 1, 0, 0))
    second = await c.sessions.push(made.id, LINES, wait=True)
    equal((second.pushed, second.total_pushed, second.data_version), (3, 4, 1))
    equal((await c.sessions.get(made.id)).data_version, 2)


@check("sessions.push")
async def acknowledged_at_once(c: Client) -> None:
    made = await c.session()
    ack = await c.sessions.push(made.id, LINES)
    equal((ack.pushed, 0 <= ack.pending <= 3, ack.pending_bytes >= 0), (3, True, True))
    answer = await c.sessions.generate(made.id, prompt="well?", max_tokens=2)  # asked later, so it sees them
    equal(answer.data_version, 1)


@check("sessions.push")
async def text_that_is_nothing_ends_a_wait_too(c: Client) -> None:
    made = await c.session()
    await c.sessions.push(made.id, "", wait=True)
    await c.sessions.push(made.id, ["", "\n"], wait=True)


@check("sessions.push")
async def a_list_of_nothing_is_refused(c: Client) -> None:
    made = await c.session()
    for wrong in ([], [1], [None]):
        await refused("BadRequestError", c.sessions.push(made.id, wrong))


@check("sessions.push")
async def any_character(c: Client) -> None:
    made = await c.session()
    text = "é 日本 \u0085\u2028\u2029 \U0001f600 \x00 <|im_end|>"
    await c.sessions.push(made.id, [text] * 3, wait=True)


@check("sessions.push")
async def a_window_slides(c: Client) -> None:
    made = await c.session(window=200)
    for number in range(12):
        await c.sessions.push(made.id, [f"{number} {line}" for line in LINES], wait=True)
    state = await c.sessions.get(made.id)
    assert 20 < state.evicted < 36, state  # of the 36 lines, which have some 20 tokens each
    equal((state.window, state.kv_tokens + 1 >= state.data_end), (200, True))
    assert (await c.sessions.generate(made.id, prompt="well?", max_tokens=2)).data_version >= 12


@check("sessions.push")
async def waiting_has_a_limit(c: Client) -> None:
    made = await c.session()
    for _ in range(5):  # text that is taken up before the first look is no failure
        try:
            await c.sessions.push(made.id, [" ".join(LINES) * 20] * 4, wait=True, wait_timeout=0.0)
        except TimeoutError:
            return
    raise AssertionError("it was never too late")


@check("sessions.flash")
async def a_query_is_registered(c: Client) -> None:
    made = await c.session()
    first = await c.sessions.flash(made.id, "up?")
    equal((first.id, first.object, first.query, first.max_tokens), (1, "flash_query", "up?", 32))
    equal((first.fresh, first.value, first.tokens > 0), (False, None, True))
    second = await c.sessions.flash(made.id, "down?", max_tokens=1000)
    equal((second.id, second.max_tokens), (2, 256))
    equal((await c.sessions.flash(made.id, "flat?", max_tokens=0)).max_tokens, 1)


@check("sessions.flash")
async def nothing_is_no_query(c: Client) -> None:
    await refused("BadRequestError", c.sessions.flash((await c.session()).id, " "))


@check("sessions.list_flash")
async def answers_come_with_the_data(c: Client) -> None:
    made = await c.session(pre_decode=False)
    await c.sessions.flash(made.id, "up?", max_tokens=4)
    await c.sessions.push(made.id, LINES, wait=True)
    (item,) = await eventually(lambda: fresh(c, made.id))
    listed = await c.sessions.list_flash(made.id)
    equal((listed.object, listed.data_version, item.data_version, item.fresh), ("list", 1, 1, True))
    assert item.confidence >= 0
    assert abs(item.evaluated_at - time.time()) < 60


@check("sessions.unflash")
async def a_query_is_removed(c: Client) -> None:
    made = await c.session()
    await c.sessions.flash(made.id, "up?")
    await c.sessions.flash(made.id, "down?")
    gone = await c.sessions.unflash(made.id, 1)
    equal((gone.id, gone.object, gone.deleted, gone.remaining), (1, "flash_query.deleted", True, 1))
    await refused("NotFoundError", c.sessions.unflash(made.id, 1))
    equal((await c.sessions.flash(made.id, "up?")).id, 3)  # an id is not used again
