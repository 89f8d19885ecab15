"""Checks of both generations: chats and messages."""

from __future__ import annotations

import json

from client import Client
from harness import check, equal, eventually, refused
from material import ASKED, CALL, CHAT_TOOLS, LONG, MESSAGE_TOOLS, MESSAGES, asking, before, idle, inside, read, says


@check("chat.create")
async def a_reply_and_its_usage(c: Client) -> None:
    reply = await c.chat.create(messages=MESSAGES, max_tokens=8, temperature=0.0, ignore_eos=True, model="any")
    (choice,) = reply.choices
    equal((reply.object, choice.index, choice.message.role), ("chat.completion", 0, "assistant"))
    equal(choice.finish_reason, "length")
    equal((reply.usage.completion_tokens, reply.usage.total_tokens), (8, reply.usage.prompt_tokens + 8))
    assert choice.message.content


@check("chat.create")
async def sampling_is_seeded_and_stops(c: Client) -> None:
    wanted = {"messages": MESSAGES, "max_tokens": 24, "temperature": 1.0, "top_p": 0.9, "seed": 7, "ignore_eos": True}
    first, second = [(await c.chat.create(**wanted)).choices[0].message.content for _ in range(2)]
    equal(first, second)
    stopped = await c.chat.create(**wanted, stop=[inside(first)])
    equal(
        (stopped.choices[0].message.content, stopped.choices[0].finish_reason), (before(inside(first), first), "stop")
    )


@check("chat.create")
async def it_calls_a_tool_and_takes_the_result(c: Client) -> None:
    scripted = c.other("scripted")
    reply = await scripted.chat.create(messages=asking("call"), tools=CHAT_TOOLS, max_tokens=200)
    (choice,) = reply.choices
    (call,) = choice.message.tool_calls
    equal((choice.finish_reason, call.type, read(call.function, "name")), ("tool_calls", "function", "weather"))
    equal(json.loads(read(call.function, "arguments")), json.loads(CALL))
    history = [
        *asking("call"),
        {"role": "assistant", "content": choice.message.content, "tool_calls": [call.model_dump()]},
        {"role": "tool", "tool_call_id": call.id, "content": says("answer")},
    ]
    answer = await scripted.chat.create(messages=history, tools=CHAT_TOOLS, max_tokens=200)
    equal((answer.choices[0].message.content, answer.choices[0].finish_reason), ("It is warm.", "stop"))
    assert answer.choices[0].message.tool_calls is None


@check("chat.create")
async def what_cannot_be_is_refused(c: Client) -> None:
    for wrong in ({"temperature": 3.0}, {"n": 0}, {"messages": []}, {"top_p": 7.0}):
        await refused("BadRequestError", c.chat.create(**{"messages": MESSAGES, "max_tokens": 1, **wrong}))


@check("chat.stream")
async def pieces_add_up_to_the_plain_reply(c: Client) -> None:
    wanted = {"messages": MESSAGES, "max_tokens": 8, "temperature": 0.0, "ignore_eos": True}
    plain = await c.chat.create(**wanted)
    async with await c.chat.stream(**wanted) as stream:
        chunks = [chunk async for chunk in stream]
    equal("".join(chunk.choices[0].delta.content or "" for chunk in chunks), plain.choices[0].message.content)
    equal([chunk.choices[0].finish_reason for chunk in chunks[-2:]], [None, "length"])
    equal((chunks[0].choices[0].delta.role, chunks[0].object), ("assistant", "chat.completion.chunk"))
    equal(len({chunk.id for chunk in chunks}), 1)


@check("chat.stream")
async def usage_comes_last_when_asked_for(c: Client) -> None:
    wanted = {"messages": MESSAGES, "max_tokens": 4, "ignore_eos": True, "stream_options": {"include_usage": True}}
    async with await c.chat.stream(**wanted) as stream:
        chunks = [chunk async for chunk in stream]
    equal((chunks[-1].choices, read(chunks[-1].usage, "completion_tokens")), ([], 4))
    equal({chunk.usage for chunk in chunks[:-1]}, {None})


@check("chat.stream")
async def a_call_is_two_chunks(c: Client) -> None:
    wanted = {"messages": asking("call"), "tools": CHAT_TOOLS, "max_tokens": 200}
    async with await c.other("scripted").chat.stream(**wanted) as stream:
        chunks = [chunk async for chunk in stream]
    calls = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or []]
    opener, arguments = calls
    equal((opener.index, opener.type, read(opener.function, "name")), (0, "function", "weather"))
    equal(read(opener.function, "arguments"), "")
    equal((arguments.index, json.loads(read(arguments.function, "arguments"))), (0, json.loads(CALL)))
    assert opener.id
    equal(chunks[-1].choices[0].finish_reason, "tool_calls")


@check("chat.stream")
async def what_some_take_for_the_end_of_a_line(c: Client) -> None:
    async with await c.other("scripted").chat.stream(messages=asking("lines"), max_tokens=200) as stream:
        equal("".join([chunk.choices[0].delta.content or "" async for chunk in stream]), c.world.lines)


@check("stream.close")
async def a_stream_given_up_is_cancelled(c: Client) -> None:
    stream = await c.chat.stream(**LONG)
    async for _ in stream:
        break
    await stream.close()
    await eventually(lambda: idle(c))


@check("messages.create")
async def a_message_and_its_usage(c: Client) -> None:
    reply = await c.messages.create(
        messages=ASKED, system="be brief", max_tokens=8, temperature=0.0, ignore_eos=True, metadata={"user_id": "me"}
    )
    equal((reply.type, reply.role, [block.type for block in reply.content]), ("message", "assistant", ["text"]))
    equal((reply.stop_reason, reply.stop_sequence, reply.usage.output_tokens), ("max_tokens", None, 8))
    assert reply.usage.input_tokens > 0


@check("messages.create")
async def it_stops_at_a_sequence(c: Client) -> None:
    wanted = {"messages": ASKED, "max_tokens": 24, "temperature": 0.0, "ignore_eos": True}
    text = (await c.messages.create(**wanted)).content[0].text
    stopped = await c.messages.create(**wanted, stop_sequences=[inside(text)])
    equal((stopped.stop_reason, stopped.stop_sequence), ("stop_sequence", inside(text)))


@check("messages.create")
async def it_uses_a_tool_and_takes_the_result(c: Client) -> None:
    scripted = c.other("scripted")
    reply = await scripted.messages.create(messages=asking("call"), tools=MESSAGE_TOOLS, max_tokens=200)
    used = reply.content[-1]
    equal((reply.stop_reason, used.type, used.name, used.input), ("tool_use", "tool_use", "weather", json.loads(CALL)))
    result = {"type": "tool_result", "tool_use_id": used.id, "content": [{"type": "text", "text": says("answer")}]}
    content = [block.model_dump() for block in reply.content]
    history = [*asking("call"), {"role": "assistant", "content": content}, {"role": "user", "content": [result]}]
    answer = await scripted.messages.create(messages=history, tools=MESSAGE_TOOLS, max_tokens=200)
    equal(([block.text for block in answer.content], answer.stop_reason), (["It is warm."], "end_turn"))


@check("messages.create", before="0.8")
async def older_clients_get_no_thinking(c: Client) -> None:
    reply = await c.other("scripted").messages.create(messages=asking("thought"), max_tokens=200)
    equal([block.type for block in reply.content], ["text"])
    equal(reply.content[0].text, "It is warm.")


@check("messages.create")
async def what_no_message_may_hold_is_refused(c: Client) -> None:
    wrongs = ({"max_tokens": None}, {"temperature": 3.0}, {"messages": [{"role": "system", "content": "no"}]})
    for wrong in wrongs:
        await refused("BadRequestError", c.messages.create(**{"messages": ASKED, "max_tokens": 1, **wrong}))


@check("messages.stream")
async def events_add_up_to_the_plain_message(c: Client) -> None:
    wanted = {"messages": ASKED, "max_tokens": 8, "temperature": 0.0, "ignore_eos": True}
    plain = await c.messages.create(**wanted)
    async with await c.messages.stream(**wanted) as stream:
        events = [event async for event in stream]
    kinds = [event.type for event in events]
    equal(kinds[:2], ["message_start", "content_block_start"])
    equal(kinds[-3:], ["content_block_stop", "message_delta", "message_stop"])
    equal("".join(event.delta.text for event in events if event.type == "content_block_delta"), plain.content[0].text)
    equal((events[-2].delta.stop_reason, events[-2].usage.output_tokens), ("max_tokens", 8))


@check("messages.stream")
async def a_tools_input_is_one_delta(c: Client) -> None:
    wanted = {"messages": asking("call"), "tools": MESSAGE_TOOLS, "max_tokens": 200}
    async with await c.other("scripted").messages.stream(**wanted) as stream:
        events = [event async for event in stream]
    deltas = [event.delta for event in events if event.type == "content_block_delta"]
    inputs = [delta for delta in deltas if delta.type == "input_json_delta"]
    equal([json.loads(delta.partial_json) for delta in inputs], [json.loads(CALL)])
    equal(events[-2].delta.stop_reason, "tool_use")


@check("messages.stream")
async def what_some_take_for_the_end_of_a_line_too(c: Client) -> None:
    async with await c.other("scripted").messages.stream(messages=asking("lines"), max_tokens=200) as stream:
        events = [event async for event in stream]
    equal("".join(event.delta.text for event in events if event.type == "content_block_delta"), c.world.lines)


@check("messages.stream", before="0.8")
async def older_clients_read_a_reply_that_was_thought_about(c: Client) -> None:
    async with await c.other("scripted").messages.stream(messages=asking("thought"), max_tokens=200) as stream:
        events = [event async for event in stream]
    texts = [event.delta.text for event in events if event.type == "content_block_delta"]
    equal("".join(texts), "It is warm.")
