"""Checks of the second generation: chats and messages, in sessions and with what came to them later."""

from __future__ import annotations

from client import Client
from gen2_material import GREEDY, LINES
from harness import check, equal, refused
from material import ASKED, CHAT_TOOLS, MESSAGE_TOOLS, asking, says


@check("chat.create")
async def a_turn_in_a_session_stays(c: Client) -> None:
    made = await c.session()
    history, n_held = [*ASKED], 0
    for turn in (1, 2):
        reply = await c.chat.create(messages=history, session_id=made.id, max_tokens=6, temperature=0.0)
        history += [{"role": "assistant", "content": reply.choices[0].message.content}, *ASKED]
        state = await c.sessions.get(made.id)
        equal((state.data_version, state.turns, state.busy), (turn, turn, False))
        assert reply.usage.prompt_tokens_details.cached_tokens >= n_held
        n_held = reply.usage.total_tokens - 1  # the last token has no KV yet
    await refused("NotFoundError", c.chat.create(messages=ASKED, session_id="sess_nobody", max_tokens=2))


@check("chat.create")
async def a_turn_sees_what_was_pushed(c: Client) -> None:
    made = await c.session()
    ack = await c.sessions.push(made.id, LINES)
    reply = await c.chat.create(messages=ASKED, session_id=made.id, max_tokens=2)
    alone = await c.chat.create(messages=ASKED, max_tokens=2)
    assert reply.usage.prompt_tokens > alone.usage.prompt_tokens
    equal((await c.sessions.get(made.id)).data_version, ack.data_version + 2)  # the data, and the turn


@check("chat.create", since="0.5", before="0.8")
async def two_sessions_are_one_too_many(c: Client) -> None:
    first, second = await c.session(), await c.session()
    wanted = {"messages": ASKED, "session_id": first.id, "max_tokens": 2}
    for named, is_refused in ((second.id, True), (first.id, False)):
        call = c.chat.create(**wanted, request_options={"headers": {"x-layerscale-session-id": named}})
        await (refused("BadRequestError", call) if is_refused else call)


@check("chat.create", since="0.6")
async def logprobs(c: Client) -> None:
    wanted = {"messages": ASKED, "max_tokens": 4, **GREEDY, "logprobs": True, "top_logprobs": 2}
    (choice,) = (await c.chat.create(**wanted)).choices
    entries = choice.logprobs.content
    equal((len(entries), [len(entry.top_logprobs) for entry in entries]), (4, [2] * 4))
    equal([entry.top_logprobs[0].bytes for entry in entries], [entry.bytes for entry in entries])  # greedy
    async with await c.chat.stream(**wanted) as stream:
        chunks = [chunk async for chunk in stream]
    streamed = [entry for chunk in chunks if chunk.choices[0].logprobs for entry in chunk.choices[0].logprobs.content]
    equal([entry.model_dump() for entry in streamed], [entry.model_dump() for entry in entries])


@check("chat.create", since="0.6")
async def a_call_can_be_forced(c: Client) -> None:
    named = {"type": "function", "function": {"name": "weather"}}
    for choice in ("required", named):
        wanted = {"messages": asking("call"), "tools": CHAT_TOOLS, "tool_choice": choice, "max_tokens": 200}
        reply = await c.other("scripted").chat.create(**wanted, parallel_tool_calls=False)
        equal([call.function.name for call in reply.choices[0].message.tool_calls], ["weather"])


@check("chat.create", since="0.8")
async def reasoning_is_told_apart(c: Client) -> None:
    scripted = c.other("scripted")
    wanted = {"messages": asking("thought"), "max_tokens": 200}
    (choice,) = (await scripted.chat.create(**wanted)).choices
    equal((choice.message.reasoning, choice.message.content), ("Warm?\nYes.", "It is warm."))
    usage = (await scripted.chat.create(**wanted)).usage
    assert usage.completion_tokens_details.reasoning_tokens > 0
    (choice,) = (await scripted.chat.create(**wanted, include_reasoning=False)).choices
    equal((choice.message.reasoning, choice.message.content), (None, "It is warm."))
    (choice,) = (await scripted.chat.create(**wanted, separate_reasoning=False)).choices
    assert choice.message.content.startswith("<think>"), choice.message
    async with await scripted.chat.stream(**wanted, stream_reasoning=False) as stream:
        pieces = [chunk.choices[0].delta.reasoning async for chunk in stream]
    equal([piece for piece in pieces if piece], ["Warm?\nYes."])


@check("chat.stream")
async def a_streamed_turn_in_a_session(c: Client) -> None:
    made = await c.session()
    async with await c.chat.stream(messages=ASKED, session_id=made.id, max_tokens=6) as stream:
        assert [chunk async for chunk in stream][-1].choices[0].finish_reason
    equal((await c.sessions.get(made.id)).turns, 1)


@check("messages.create")
async def a_message_in_a_session_stays(c: Client) -> None:
    made = await c.session()
    first = await c.messages.create(messages=ASKED, session_id=made.id, max_tokens=6)
    text = "".join(block.text for block in first.content)
    history = [*ASKED, {"role": "assistant", "content": text}, *ASKED]
    second = await c.messages.create(messages=history, session_id=made.id, max_tokens=6)
    assert second.usage.cache_read_input_tokens > 0
    equal((await c.sessions.get(made.id)).turns, 2)


@check("messages.create", since="0.6")
async def a_tool_can_be_forced(c: Client) -> None:
    for choice in ({"type": "any"}, {"type": "tool", "name": "weather", "disable_parallel_tool_use": True}):
        wanted = {"messages": asking("call"), "tools": MESSAGE_TOOLS, "tool_choice": choice, "max_tokens": 200}
        reply = await c.other("scripted").messages.create(**wanted)
        equal((reply.stop_reason, reply.content[-1].name), ("tool_use", "weather"))


@check("messages.create", since="0.8")
async def thinking_comes_in_a_block(c: Client) -> None:
    scripted = c.other("scripted")
    reply = await scripted.messages.create(messages=asking("thought"), max_tokens=200)
    thought, text = reply.content
    equal((thought.type, thought.thinking, text.text), ("thinking", "Warm?\nYes.", "It is warm."))
    assert thought.signature
    history = [
        *asking("thought"),
        {"role": "assistant", "content": [block.model_dump() for block in reply.content]},
        {"role": "user", "content": says("answer")},
    ]
    equal((await scripted.messages.create(messages=history, max_tokens=200)).stop_reason, "end_turn")
    hidden = {"type": "enabled", "budget_tokens": 1024, "display": "omitted"}
    reply = await scripted.messages.create(messages=asking("thought"), max_tokens=2000, thinking=hidden)
    equal(
        [(block.type, getattr(block, "thinking", "")) for block in reply.content], [("thinking", ""), ("text", "")]
    )  # a text has no thinking


@check("messages.stream")
async def a_streamed_message_in_a_session(c: Client) -> None:
    made = await c.session()
    async with await c.messages.stream(messages=ASKED, session_id=made.id, max_tokens=6) as stream:
        equal([event async for event in stream][-1].type, "message_stop")
    equal((await c.sessions.get(made.id)).turns, 1)


@check("messages.stream", since="0.8")
async def thinking_is_streamed_and_signed(c: Client) -> None:
    async with await c.other("scripted").messages.stream(messages=asking("thought"), max_tokens=200) as stream:
        events = [event async for event in stream]
    deltas = [event.delta for event in events if event.type == "content_block_delta"]
    equal("".join(delta.thinking for delta in deltas if delta.type == "thinking_delta"), "Warm?\nYes.")
    equal(len([delta for delta in deltas if delta.type == "signature_delta"]), 1)


@check("messages.count_tokens")
async def as_many_as_the_message_has(c: Client) -> None:
    for request in ({"messages": ASKED, "system": "be brief"}, {"messages": asking("call"), "tools": MESSAGE_TOOLS}):
        scripted = c.other("scripted")
        counted = await scripted.messages.count_tokens(**request)
        usage = (await scripted.messages.create(**request, max_tokens=1)).usage
        equal(counted.input_tokens, usage.input_tokens + usage.cache_read_input_tokens)
    await refused("BadRequestError", c.messages.count_tokens(messages=[{"role": "system", "content": "no"}]))
