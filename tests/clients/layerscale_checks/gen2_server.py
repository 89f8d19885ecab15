"""Checks of the second generation, 0.5 to 0.8: the server's information, keys, errors, timeouts, repeated requests."""

from __future__ import annotations

import asyncio
from typing import Any

from client import KEY, Client
from gen2_material import LINES, QUESTION
from harness import check, environment, equal, eventually, refused
from layerscale.types import HealthBody
from material import ASKED, LONG, TOO_LONG, losing_first


@check("health.check")
async def every_counter_is_there(c: Client) -> None:
    body = (await c.health.check(request_options={"timeout": 5.0})).body
    missing = [name for name in HealthBody.model_fields if getattr(body, name) is None]
    equal((missing, body.status), ([], "ok"))
    loading = (await c.other("loading").health.check()).body
    equal((loading.status, loading.running), ("unavailable", 0))


@check("health.check")
async def they_count_what_was_done(c: Client) -> None:
    before = (await c.health.check()).body
    session = await c.session()
    await c.sessions.push(session.id, LINES, wait=True)
    await c.chat.create(messages=ASKED, session_id=session.id, max_tokens=4, ignore_eos=True)
    after = (await c.health.check()).body
    equal((after.sessions - before.sessions, after.session_turns - before.session_turns), (1, 1))
    equal(after.generated_tokens - before.generated_tokens, 4)
    assert after.session_ingested_tokens > before.session_ingested_tokens
    assert after.session_cached_tokens > before.session_cached_tokens
    assert after.requests_ok - before.requests_ok >= 3


@check("metrics.get")
async def text_for_prometheus(c: Client) -> None:
    text = await c.metrics.get()
    assert "# TYPE " in text, text[:200]
    await refused("AuthenticationError", c.other(api_key="LS-wrong").metrics.get())


@check("models.list")
async def how_much_it_admits(c: Client) -> None:
    listed = await c.models.list()
    (model,) = listed.data
    assert model.max_model_len > 0
    if c.world.version >= (0, 8):
        equal((model.type, model.lifecycle, model.capabilities), ("model", "active", None))
        equal((model.max_input_tokens, model.max_tokens), (model.max_model_len - 1,) * 2)
        equal((listed.has_more, listed.first_id, listed.last_id), (False, model.id, model.id))


@check("models.retrieve")
async def by_its_name_in_any_case(c: Client) -> None:
    (model,) = (await c.models.list()).data
    for name in (model.id, model.id.upper()):
        equal((await c.models.retrieve(name)).model_dump(), model.model_dump())
    await refused("NotFoundError", c.models.retrieve("nobody/nothing"))


@check("keys")
async def the_environment_names_the_server_too(c: Client) -> None:
    url = c.world.urls["main"]
    with environment(LAYERSCALE_BASE_URL=url, LAYERSCALE_API_KEY=KEY, LAYERSCALE_LICENSE_KEY="LS-wrong"):
        await c.other(base_url=None, api_key=None).models.list()
    with environment(LAYERSCALE_LICENSE_KEY=KEY):
        await c.other(api_key=None).models.list()


@check("context_overflow", since="0.8")
async def the_flag_is_set_on_every_route(c: Client) -> None:
    made = await c.session()
    text = TOO_LONG[0]["content"]
    calls = [
        c.chat.create(messages=TOO_LONG), c.chat.stream(messages=TOO_LONG),
        c.messages.create(messages=TOO_LONG, max_tokens=1), c.messages.stream(messages=TOO_LONG, max_tokens=1),
        c.sessions.generate(made.id, prompt=text), c.sessions.generate_stream(made.id, prompt=text),
        c.chat.create(messages=TOO_LONG, session_id=made.id),
        c.messages.create(messages=TOO_LONG, session_id=made.id, max_tokens=1),
    ]  # fmt: skip
    for call in calls:
        await refused("BadRequestError", call, context_overflow=True)
    state = await c.sessions.get(made.id)
    equal((state.busy, state.data_version), (False, 0))  # free again, and it keeps what it held
    error = await refused("BadRequestError", c.chat.create(messages=ASKED, temperature=9.0))
    equal(error.context_overflow, False)


@check("ConflictError")
async def an_id_that_is_taken(c: Client) -> None:
    await c.session(id="taken")
    await refused("ConflictError", c.sessions.create(id="taken"), status_code=409, type="conflict_error")


@check("ConflictError")
async def a_query_that_is_there_or_one_too_many(c: Client) -> None:
    made = await c.session()
    await c.sessions.flash(made.id, "up?")
    await refused("ConflictError", c.sessions.flash(made.id, "up?"))
    for number in range(19):
        await c.sessions.flash(made.id, f"is {number} it?")
    await refused("ConflictError", c.sessions.flash(made.id, "one more?"))


@check("ConflictError")
async def a_session_that_is_busy(c: Client) -> None:
    made = await c.session()
    async with await c.sessions.generate_stream(made.id, **QUESTION) as stream:
        await anext(stream)
        assert (await c.sessions.get(made.id)).busy
        await refused("ConflictError", c.sessions.delete(made.id))
        await refused("ConflictError", c.sessions.generate(made.id, prompt="well?", max_tokens=2))
        await refused("ConflictError", c.chat.create(messages=ASKED, session_id=made.id, max_tokens=2))


@check("ConflictError")
async def no_room_for_another_session(c: Client) -> None:
    small = c.other("small")
    await small.session()
    await refused("ConflictError", small.sessions.create())


@check("APIStreamError")
async def an_engine_that_ends_while_it_answers(c: Client) -> None:
    dying = c.other(f"dying {'async' if c.asynchronous else 'sync'}")
    session = await dying.sessions.create()
    streams = [
        await dying.chat.stream(**LONG),
        await dying.messages.stream(**LONG),
        await dying.sessions.generate_stream(session.id, **QUESTION),
    ]
    for stream in streams:
        await anext(stream)
    await dying.kill()
    for stream in streams:
        error = await refused("APIStreamError", _rest(stream))
        equal((bool(error.type), bool(error.message)), (True, True))


@check("APITimeoutError")
async def each_request_may_have_its_own(c: Client) -> None:
    await refused("APITimeoutError", c.chat.create(**LONG, request_options={"timeout": 0.1}))
    made = await c.session()
    call = c.sessions.generate(made.id, **QUESTION, request_options={"timeout": 0.1})
    await refused("APITimeoutError", call)
    await eventually(lambda: _free(c, made.id))


@check("request_options")
async def headers_of_one_request(c: Client) -> None:
    options = {"headers": {"x-request-id": "mine"}}
    error = await refused("NotFoundError", c.sessions.get("sess_nobody", request_options=options))
    equal(error.response.headers["x-request-id"], "mine")
    await refused("AuthenticationError", c.models.list(request_options={"headers": {"Authorization": "Bearer x"}}))


@check("timeouts")
async def zero_is_no_limit(c: Client) -> None:
    await c.other(timeout=0).chat.create(messages=ASKED, max_tokens=4)


@check("timeouts")
async def a_stream_has_none(c: Client) -> None:
    made = await c.session()
    hasty = c.other(timeout=0.2)
    async with await hasty.sessions.events(made.id) as stream:
        await anext(stream)
        await asyncio.sleep(0.5)
        await c.sessions.push(made.id, LINES)
        equal((await anext(stream)).type, "data_updated")


@check("retries")
async def a_push_is_never_repeated(c: Client) -> None:
    made = await c.session()
    with losing_first(c.world.urls["main"]) as url:
        await refused("APIConnectionError", c.other(base_url=url, max_retries=2).sessions.push(made.id, LINES))
    equal((await c.sessions.push(made.id, LINES[0], wait=True)).total_pushed, 4)  # it had arrived once


@check("retries")
async def a_creation_whose_answer_was_lost(c: Client) -> None:
    with losing_first(c.world.urls["main"]) as url:
        await refused("APIConnectionError", c.other(base_url=url, max_retries=2).sessions.create(id="lost"))
    try:
        await refused("ConflictError", c.sessions.create(id="lost"))  # so the client knows that it is there
    finally:
        await c.sessions.delete("lost")


@check("retries")
async def a_refusal_that_may_pass_is_not_repeated_for_a_post(c: Client) -> None:
    small = c.other("small", max_retries=2)
    before = (await small.health.check()).body
    await refused("InternalServerError", small.chat.create(messages=[{"role": "user", "content": "x" * 40_000}]))
    equal((await small.health.check()).body.requests_failed - before.requests_failed, 1)


async def _free(c: Client, session: str) -> bool:
    return not (await c.sessions.get(session)).busy


async def _rest(stream: Any) -> list[Any]:
    return [item async for item in stream]
