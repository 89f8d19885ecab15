"""Checks of the second generation: questions to a session, and prompts computed ahead."""

from __future__ import annotations

from typing import Any

from client import Client
from gen2_material import GREEDY, LINES, fresh
from harness import check, equal, eventually, refused
from material import CHAT_TOOLS, LONG, MESSAGES, TOO_LONG, before, inside, says


@check("sessions.generate")
async def an_answer_about_the_data(c: Client) -> None:
    made = await c.session()
    await c.sessions.push(made.id, LINES, wait=True)
    answer = await c.sessions.generate(made.id, prompt="well?", max_tokens=5, **GREEDY)
    equal((answer.object, answer.session_id, answer.finish_reason), ("session.generation", made.id, "length"))
    equal((answer.data_version, answer.usage.completion_tokens), (1, 5))
    equal(answer.usage.total_tokens, answer.usage.prompt_tokens + 5)
    equal((answer.flash, answer.flash_id, answer.confidence), (None,) * 3)
    equal((answer.speculative, answer.logit_gap), (None, None))
    again = await c.sessions.generate(made.id, prompt="well?", max_completion_tokens=5, **GREEDY)
    equal((again.text, again.data_version), (answer.text, 1))
    assert again.usage.prompt_tokens_details.cached_tokens > 0


@check("sessions.generate")
async def sampling_is_seeded_and_stops(c: Client) -> None:
    made = await c.session()
    wanted = {"prompt": "well?", "max_tokens": 24, "temperature": 1.0, "top_p": 1.0, "seed": 7, "ignore_eos": True}
    first, second = [(await c.sessions.generate(made.id, **wanted)).text for _ in range(2)]
    equal(first, second)
    for stop in (inside(first), ["never ever", inside(first)]):
        stopped = await c.sessions.generate(made.id, **wanted, stop=stop)
        equal((stopped.text, stopped.finish_reason), (before(inside(first), first), "stop"))


@check("sessions.generate")
async def what_it_does_not_take_is_refused(c: Client) -> None:
    made = await c.session()
    wrongs: list[dict[str, Any]] = [
        {"messages": MESSAGES}, {"tools": CHAT_TOOLS}, {"clear_after": 1}, {"prompt": ""}, {"stop": ["a"] * 5},
        {"stop": "a" * 65},
    ]  # fmt: skip
    for wrong in wrongs:
        await refused("BadRequestError", c.sessions.generate(made.id, **{"prompt": "x", "max_tokens": 1, **wrong}))
    await refused("BadRequestError", c.sessions.generate(made.id, max_tokens=1))


@check("sessions.generate", since="0.8")
async def thinking_is_set_as_in_chats(c: Client) -> None:
    made = await c.session()
    asked = {"prompt": "well?", "max_tokens": 2}
    await c.sessions.generate(made.id, **asked, reasoning_effort="low")
    await c.sessions.generate(made.id, **asked, chat_template_kwargs={"enable_thinking": False})
    call = c.sessions.generate(made.id, **asked, chat_template_kwargs={"unheard_of": 1})
    await refused("BadRequestError", call)


@check("sessions.generate")
async def a_flash_answer_is_there_already(c: Client) -> None:
    made = await c.session()
    await c.sessions.flash(made.id, "up?", max_tokens=4)
    await c.sessions.push(made.id, LINES, wait=True)
    (item,) = await eventually(lambda: fresh(c, made.id))
    hit = await c.sessions.generate(made.id, prompt=" up? ", max_tokens=8)
    equal((hit.flash, hit.flash_id, hit.text, hit.confidence), (True, item.id, item.value, item.confidence))
    usage = hit.usage
    equal((usage.prompt_tokens, usage.completion_tokens, usage.total_tokens), (0, 0, None))
    equal((usage.prompt_tokens_details, hit.data_version), (None, 1))


@check("sessions.generate")
async def an_answer_decided_ahead_of_the_question(c: Client) -> None:
    made = await c.session(pre_decode=True)
    await c.sessions.push(made.id, LINES, wait=True)
    for question in ("up?", "down?", "flat?", "so?", "well?"):
        first = await c.sessions.generate(made.id, prompt=question, max_tokens=1, **GREEDY)
        await c.sessions.push(made.id, LINES, wait=True)
        state = await eventually(lambda: _ready(c, made.id))
        assert isinstance(state.ready_token, int)
        assert state.ready_gap >= 0
        plain = await c.sessions.generate(made.id, prompt=question, max_tokens=1, **GREEDY)
        if plain.text.isascii() and plain.text.strip():  # else it is half a character, which decides for nothing
            break
    else:
        raise AssertionError(f"no question has an answer in text, the last: {first.text!r}")
    candidates = [f"{plain.text}, and more", "\n none of it"]
    wanted = {"prompt": question, "fast_answer": candidates, "max_tokens": 4, **GREEDY}
    hit = await c.sessions.generate(made.id, **wanted, gap_threshold=0.0)
    equal((hit.speculative, hit.text, hit.usage.completion_tokens), (True, candidates[0], 0))
    equal((hit.usage.total_tokens, hit.logit_gap), (None, state.ready_gap))
    unsure = await c.sessions.generate(made.id, **wanted, gap_threshold=1e6)
    equal((unsure.speculative, unsure.usage.completion_tokens > 0), (None, True))


@check("sessions.generate_stream")
async def pieces_and_a_last_frame(c: Client) -> None:
    made = await c.session()
    await c.sessions.push(made.id, LINES, wait=True)
    plain = await c.sessions.generate(made.id, prompt="well?", max_tokens=6, **GREEDY)
    async with await c.sessions.generate_stream(made.id, prompt="well?", max_tokens=6, **GREEDY) as stream:
        *pieces, final = [chunk async for chunk in stream]
    equal("".join(piece.text for piece in pieces), plain.text)
    equal((final.done, final.finish_reason, final.data_version), (True, plain.finish_reason, 1))
    equal((final.session_id, final.usage.completion_tokens), (made.id, 6))


@check("sessions.generate_stream")
async def a_flash_answer_is_one_piece(c: Client) -> None:
    made = await c.session()
    await c.sessions.flash(made.id, "up?", max_tokens=4)
    await c.sessions.push(made.id, LINES, wait=True)
    (item,) = await eventually(lambda: fresh(c, made.id))
    async with await c.sessions.generate_stream(made.id, prompt="up?") as stream:
        piece, final = [chunk async for chunk in stream]
    equal((piece.text, final.flash, final.usage.completion_tokens), (item.value, True, 0))


@check("sessions.generate_stream")
async def what_some_take_for_the_end_of_a_line(c: Client) -> None:
    scripted = c.other("scripted")
    made = await scripted.session()
    async with await scripted.sessions.generate_stream(made.id, prompt=says("lines"), max_tokens=200) as stream:
        *pieces, _ = [chunk async for chunk in stream]
    equal("".join(piece.text for piece in pieces), c.world.lines)


@check("sessions.warm")
async def a_conversation_computed_ahead(c: Client) -> None:
    made = await c.session()
    await c.sessions.push(made.id, LINES, wait=True)
    warmed = await c.sessions.warm(made.id, messages=MESSAGES, tools=CHAT_TOOLS, tool_choice="auto")
    equal((warmed.object, warmed.session_id, warmed.finish_reason), ("session.warm", made.id, "warmed"))
    equal((warmed.data_version, warmed.prompt_tokens > 0), ((await c.sessions.get(made.id)).data_version, True))
    assert 0 <= warmed.prefix_cached_tokens <= warmed.cached_tokens < warmed.prompt_tokens
    covered = await c.sessions.warm(made.id, messages=MESSAGES, tools=CHAT_TOOLS)
    equal((covered.finish_reason, covered.prompt_tokens), ("covered", warmed.prompt_tokens))
    reply = await c.chat.create(messages=MESSAGES, tools=CHAT_TOOLS, session_id=made.id, max_tokens=2)
    assert reply.usage.prompt_tokens_details.cached_tokens >= warmed.prompt_tokens - 1


@check("sessions.warm")
async def what_cannot_be_warmed(c: Client) -> None:
    made = await c.session()
    await refused("BadRequestError", c.sessions.warm(made.id, messages=TOO_LONG), context_overflow=True)
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    await refused("BadRequestError", c.sessions.warm(made.id, messages=[{"role": "user", "content": [image]}]))
    async with await c.chat.stream(**LONG, session_id=made.id) as stream:
        await anext(stream)
        await refused("ConflictError", c.sessions.warm(made.id, messages=MESSAGES))


async def _ready(c: Client, session: str) -> Any:
    state = await c.sessions.get(session)
    return state if state.ready else None
