"""Checks of the first generation: questions to a session, chats in one."""

from __future__ import annotations

import asyncio
import json

from client import Client
from gen1_material import LONG, PROMPT, UP, answered, candles
from harness import check, equal, eventually, refused
from material import ASKED, CHAT_TOOLS, MESSAGES, asking, before, inside, says


@check("sessions.query")
async def an_answer_about_the_data(c: Client) -> None:
    session = await candles(c, mark_prefix=True)
    await c.sessions.push(session, c.world.rows["ohlcv"], wait=True)
    answer = await c.sessions.query(session, prompt="down?", max_tokens=5, ignore_eos=True)
    equal((answer.n_tokens, answer.finish_reason, answer.data_version), (5, "length", 1))
    equal((answer.total_tokens, answer.tool_calls, answer.flash), (answer.pos_max + 1, None, None))
    again = await c.sessions.query(session, prompt="down?", max_tokens=5, ignore_eos=True)
    equal((again.text, again.total_tokens), (answer.text, answer.total_tokens))  # greedy, and a tail that was let go


@check("sessions.query")
async def without_a_prompt_the_context_goes_on(c: Client) -> None:
    session = await candles(c)
    await c.sessions.append(session, "one two three ")
    assert (await c.sessions.query(session, max_tokens=4, ignore_eos=True)).n_tokens == 4


@check("sessions.query")
async def it_stops_where_told(c: Client) -> None:
    session = await candles(c)
    text = (await c.sessions.query(session, prompt="well?", max_tokens=24, ignore_eos=True)).text
    stopped = await c.sessions.query(session, prompt="well?", max_tokens=24, ignore_eos=True, stop=[inside(text)])
    equal((stopped.text, stopped.finish_reason), (before(inside(text), text), "stop"))


@check("sessions.query")
async def clear_after_leaves_nothing(c: Client) -> None:
    session = await candles(c)
    before = (await c.sessions.get(session)).n_tokens
    await c.sessions.query(session, prompt="well?", max_tokens=4, clear_after=1)
    equal((await c.sessions.get(session)).n_tokens, before)
    await c.sessions.query(session, prompt="well?", max_tokens=4, clear_after=0)
    assert (await c.sessions.get(session)).n_tokens > before


@check("sessions.query", since="0.4")
async def sampling_is_asked_for(c: Client) -> None:
    session = await candles(c)
    wanted = {"prompt": "well?", "max_tokens": 12, "ignore_eos": True}
    greedy = {(await c.sessions.query(session, **wanted)).text for _ in range(2)}
    warm = {(await c.sessions.query(session, **wanted, temperature=2.0, top_p=1.0)).text for _ in range(4)}
    equal((len(greedy), len(warm) > 1), (1, True))


@check("sessions.query")
async def a_flash_answer_is_there_already(c: Client) -> None:
    session = await candles(c, flash=[UP])
    await c.sessions.push(session, c.world.rows["ohlcv"], wait=True)
    listed = await eventually(lambda: answered(c, session))
    hit = await c.sessions.query(session, prompt=" up? ", fast_answer=True, max_tokens=8)
    equal((hit.flash, hit.flash_id, hit.text, hit.n_tokens), (True, 1, listed[0].value, 0))
    equal((hit.confidence, hit.data_version), (listed[0].confidence, 1))
    other = await c.sessions.query(session, prompt="down?", fast_answer=True, max_tokens=4)
    equal(other.flash, None)


@check("sessions.query")
async def a_tool_is_called_and_its_result_taken(c: Client) -> None:
    scripted = c.other("scripted")
    session = (await scripted.session(type="ohlcv")).session_id
    first = await scripted.sessions.query(session, messages=asking("call"), tools=CHAT_TOOLS, max_tokens=200)
    (call,) = first.tool_calls
    equal((first.finish_reason, first.text, call.type), ("tool_calls", "", "function"))
    equal((call.function.name, json.loads(call.function.arguments)), ("weather", {"city": "Paris"}))
    history = [
        *asking("call"),
        {"role": "assistant", "tool_calls": [call.model_dump()]},
        {"role": "tool", "tool_call_id": call.id, "content": says("answer")},
    ]
    answer = await scripted.sessions.query(session, messages=history, tools=CHAT_TOOLS, max_tokens=200)
    equal((answer.text, answer.finish_reason, answer.tool_calls), ("It is warm.", "stop", None))
    assert answer.total_tokens > first.total_tokens  # the turns stay


@check("sessions.query")
async def a_prompt_and_messages_exclude_each_other(c: Client) -> None:
    session = await candles(c)
    await refused("BadRequestError", c.sessions.query(session, prompt="well?", messages=MESSAGES, max_tokens=2))


@check("sessions.query")
async def a_question_that_does_not_fit(c: Client) -> None:
    session = await candles(c, context=600)
    wanted = {"max_tokens": 4}
    for field, question in (("prompt", "x" * 4000), ("messages", [{"role": "user", "content": "x" * 4000}])):
        call = c.sessions.query(session, **{field: question}, **wanted)
        await refused("BadRequestError", call, code="context_length_exceeded", param=field)
    await c.sessions.query(session, prompt="well?", **wanted)  # it keeps what it held


@check("sessions.query")
async def a_second_question_waits_for_the_first(c: Client) -> None:
    session = await candles(c)
    async with await c.sessions.query_stream(session, **{**LONG, "max_tokens": 1000}) as stream:
        await anext(stream)
        second = asyncio.create_task(c.sessions.query(session, prompt="well?", max_tokens=2))
        assert [chunk async for chunk in stream][-1].done
        assert (await second).finish_reason


@check("sessions.query_stream")
async def pieces_and_a_last_frame(c: Client) -> None:
    session = await candles(c)
    await c.sessions.push(session, c.world.rows["ohlcv"], wait=True)
    plain = await c.sessions.query(session, prompt="down?", max_tokens=6, ignore_eos=True)
    async with await c.sessions.query_stream(session, prompt="down?", max_tokens=6, ignore_eos=True) as stream:
        *pieces, final = [chunk async for chunk in stream]
    equal((final.done, final.text, final.n_tokens, final.finish_reason), (True, plain.text, 6, "length"))
    equal("".join(piece.token for piece in pieces), final.text)
    positions = [piece.pos for piece in pieces]
    equal((positions, positions[-1] <= plain.pos_max), (sorted(set(positions)), True))


@check("sessions.query_stream")
async def a_flash_answer_is_one_piece(c: Client) -> None:
    session = await candles(c, flash=[UP])
    await c.sessions.push(session, c.world.rows["ohlcv"], wait=True)
    listed = await eventually(lambda: answered(c, session))
    async with await c.sessions.query_stream(session, prompt="up?", fast_answer=True, max_tokens=6) as stream:
        piece, final = [chunk async for chunk in stream]
    equal((piece.token, final.text, final.n_tokens), (listed[0].value, listed[0].value, 0))


@check("sessions.query_stream")
async def what_some_take_for_the_end_of_a_line(c: Client) -> None:
    scripted = c.other("scripted")
    session = (await scripted.session(type="ohlcv", prompt=PROMPT)).session_id
    async with await scripted.sessions.query_stream(session, prompt=says("lines"), max_tokens=200) as stream:
        *pieces, final = [chunk async for chunk in stream]
    equal((final.text, "".join(piece.token for piece in pieces)), (c.world.lines, c.world.lines))


@check("sessions.query_stream")
async def a_call_comes_with_the_last_frame(c: Client) -> None:
    scripted = c.other("scripted")
    session = (await scripted.session(type="ohlcv")).session_id
    wanted = {"messages": asking("call"), "tools": CHAT_TOOLS, "max_tokens": 200}
    async with await scripted.sessions.query_stream(session, **wanted) as stream:
        final = [chunk async for chunk in stream][-1]
    equal((final.done, final.finish_reason), (True, "tool_calls"))
    equal([call.function.name for call in final.tool_calls], ["weather"])


@check("chat.create")
async def a_turn_in_a_session_stays(c: Client) -> None:
    session = await candles(c)
    history = [*ASKED]
    for turn in (1, 2):
        reply = await c.chat.create(messages=history, session_id=session, max_tokens=6, temperature=0.0)
        history += [{"role": "assistant", "content": reply.choices[0].message.content}, *ASKED]
        equal((await c.sessions.query(session, max_tokens=1)).data_version, turn)
    call = c.chat.create(messages=ASKED, session_id="sess_nobody", max_tokens=2)
    await refused("NotFoundError", call)


@check("chat.stream")
async def a_streamed_turn_in_a_session(c: Client) -> None:
    session = await candles(c)
    async with await c.chat.stream(messages=ASKED, session_id=session, max_tokens=6) as stream:
        assert [chunk async for chunk in stream][-1].choices[0].finish_reason
    equal((await c.sessions.query(session, max_tokens=1)).data_version, 1)


@check("messages.create")
async def a_message_in_a_session_stays(c: Client) -> None:
    session = await candles(c)
    await c.messages.create(messages=ASKED, session_id=session, max_tokens=6)
    equal((await c.sessions.query(session, max_tokens=1)).data_version, 1)


@check("messages.stream")
async def a_streamed_message_in_a_session(c: Client) -> None:
    session = await candles(c)
    async with await c.messages.stream(messages=ASKED, session_id=session, max_tokens=6) as stream:
        equal([event async for event in stream][-1].type, "message_stop")
    equal((await c.sessions.query(session, max_tokens=1)).data_version, 1)
