"""Checks of the first generation, 0.2 to 0.4: sessions, raw completions."""

from __future__ import annotations

import time

from client import Client
from gen1_material import DOWN, PROMPT, UP, answered, candles
from harness import check, equal, eventually, refused
from material import before, inside


@check("completions.create")
async def a_raw_completion(c: Client) -> None:
    wanted = {"prompt": "the system", "max_tokens": 24, "temperature": 0.0, "top_p": 1.0, "ignore_eos": True}
    reply = await c.completions.create(**wanted, model="any")
    (choice,) = reply.choices
    equal((reply.object, choice.index, choice.finish_reason), ("text_completion", 0, "length"))
    equal((reply.usage.completion_tokens, reply.usage.total_tokens), (24, reply.usage.prompt_tokens + 24))
    stopped = await c.completions.create(**wanted, stop=inside(choice.text))
    equal(
        (stopped.choices[0].text, stopped.choices[0].finish_reason), (before(inside(choice.text), choice.text), "stop")
    )


@check("models.list", since="0.4")
async def the_server_tells_about_itself(c: Client) -> None:
    server = (await c.models.list()).server
    assert server is not None, "no `server` in the answer"
    assert server.version
    assert server.model.id
    assert server.scheduler.context > 0


@check("sessions.create")
async def what_was_asked_for_is_confirmed(c: Client) -> None:
    made = await c.session(type="iot", prompt=PROMPT, context=1500, window_size=900, flash=[UP, DOWN])
    equal((made.type, made.context, made.window_size, made.flash_queries), ("iot", 1500, 900, 2))
    equal(made.pos_max, made.n_tokens - 1)
    listed = (await c.sessions.list_flash(made.session_id)).flash_queries
    equal([(item.query, item.max_tokens) for item in listed], [("up?", 4), ("down?", 32)])


@check("sessions.create")
async def the_least_that_can_be_asked_for(c: Client) -> None:
    made = await c.session(type="vitals")
    equal((made.window_size, made.flash_queries), (0, 0))


@check("sessions.create")
async def mark_prefix_freezes_the_prompt(c: Client) -> None:
    made = await c.session(type="ohlcv", prompt=PROMPT, mark_prefix=True)
    equal((await c.sessions.get(made.session_id)).prefix_end, made.n_tokens)


@check("sessions.create")
async def an_unknown_type_is_named(c: Client) -> None:
    await refused("BadRequestError", c.sessions.create(type="weather"), param="type", code=None)


@check("sessions.create", before="0.2.1")
async def context_size_is_its_older_name(c: Client) -> None:
    equal((await c.session(type="ohlcv", context_size=1500)).context_size, 1500)


@check("sessions.list")
async def sessions_in_the_order_of_their_making(c: Client) -> None:
    first, second = await candles(c), await candles(c)
    listed = await c.sessions.list()
    ids = [item.session_id for item in listed.sessions]
    equal([one for one in ids if one in (first, second)], [first, second])
    equal((listed.count, listed.max_sessions), (len(ids), 256))
    mine = listed.sessions[ids.index(first)]
    assert 0 < mine.cache_usage < 1
    assert not mine.in_use
    assert mine.created_at <= mine.last_used_at


@check("sessions.get")
async def the_state_of_a_session(c: Client) -> None:
    session = await candles(c, context=1500)
    await c.sessions.push(session, c.world.rows["ohlcv"], wait=True)
    state = await c.sessions.get(session)
    equal((state.session_id, state.type, state.context, state.data_count), (session, "ohlcv", 1500, 5))
    equal((state.pos_min, state.pos_max, state.pos_next), (0, state.n_tokens - 1, state.n_tokens))
    equal((state.prefix_end, state.data_region.start, state.data_region.end), (0, 0, state.n_tokens))
    assert PROMPT in state.context_text
    assert "152" in state.context_text
    if c.world.version < (0, 3):
        assert state.last_inject_us > 0


@check("sessions.delete")
async def a_deleted_session_is_gone(c: Client) -> None:
    session = (await c.sessions.create(type="ohlcv")).session_id
    equal(await c.sessions.delete(session), None)
    for call in (c.sessions.delete, c.sessions.get, c.sessions.stats, c.sessions.stream_status, c.sessions.mark_prefix):
        await refused("NotFoundError", call(session))


@check("sessions.append")
async def text_that_stays(c: Client) -> None:
    session = await candles(c)
    before = await c.sessions.get(session)
    added = await c.sessions.append(session, "a note about the user\n")
    equal((added.total_tokens, added.pos_max), (before.n_tokens + added.n_tokens_added, added.total_tokens - 1))
    answer = await c.sessions.query(session, prompt="x", max_tokens=1)
    equal(answer.data_version, 1)
    assert "a note about the user" in (await c.sessions.get(session)).context_text


@check("sessions.append")
async def text_that_does_not_fit(c: Client) -> None:
    session = await candles(c, context=600)
    await refused("BadRequestError", c.sessions.append(session, "x" * 4000), code="context_length_exceeded")


@check("sessions.mark_prefix")
async def the_mark_moves_forward(c: Client) -> None:
    session = await candles(c)
    first = await c.sessions.mark_prefix(session)
    equal((await c.sessions.mark_prefix(session)).prefix_end, first.prefix_end)
    added = await c.sessions.append(session, "more\n")
    equal((await c.sessions.mark_prefix(session)).prefix_end, added.total_tokens)
    assert first.message


@check("sessions.slots")
async def the_parts_of_a_context(c: Client) -> None:
    session = await candles(c)
    await c.sessions.push(session, c.world.rows["ohlcv"], wait=True)
    await c.sessions.query(session, prompt="well?", max_tokens=4)
    found = await c.sessions.slots(session)
    equal([slot.name for slot in found.slots], ["prompt", "data", "tail"])
    equal([slot.start for slot in found.slots[1:]], [slot.end for slot in found.slots[:-1]])
    equal([slot.n_tokens for slot in found.slots], [slot.end - slot.start for slot in found.slots])
    equal((found.slots[-1].end, found.pos_next), (found.total_tokens, found.total_tokens))


@check("sessions.flash")
async def a_query_is_registered(c: Client) -> None:
    session = await candles(c)
    first = await c.sessions.flash(session, "up?")
    equal((first.id, first.query, first.max_tokens, first.total_flash_queries), (1, "up?", 32, 1))
    assert first.n_tokens > 0
    second = await c.sessions.flash(session, "down?", max_tokens=1000)
    equal((second.id, second.max_tokens, second.total_flash_queries), (2, 256, 2))
    equal((await c.sessions.flash(session, "flat?", max_tokens=0)).max_tokens, 1)


@check("sessions.flash")
async def nothing_is_no_query(c: Client) -> None:
    await refused("BadRequestError", c.sessions.flash(await candles(c), " "))


@check("sessions.list_flash")
async def answers_come_with_the_data(c: Client) -> None:
    session = await candles(c, flash=[UP])
    (item,) = (await c.sessions.list_flash(session)).flash_queries
    equal((item.has_answer, item.value, item.data_version, item.evaluated_at), (False, "", 0, 0))
    await c.sessions.push(session, c.world.rows["ohlcv"], wait=True)
    await eventually(lambda: answered(c, session))
    listed = await c.sessions.list_flash(session)
    (item,) = listed.flash_queries
    equal((listed.count, listed.current_data_version, item.data_version), (1, 1, 1))
    assert item.confidence >= 0
    assert abs(item.evaluated_at - time.time()) < 60


@check("sessions.unflash")
async def a_query_is_removed(c: Client) -> None:
    session = await candles(c, flash=[UP, DOWN])
    gone = await c.sessions.unflash(session, 1)
    equal((gone.success, gone.remaining), (True, 1))
    await refused("NotFoundError", c.sessions.unflash(session, 1))
    equal((await c.sessions.flash(session, "up?")).id, 3)  # an id is not used again
