"""Checks of both generations: the server's information, keys, errors, timeouts, repeated requests."""

from __future__ import annotations

import contextlib
import re

from client import KEY, Client
from harness import check, environment, equal, eventually, refused
from material import ASKED, LONG, MESSAGES, TOO_LONG, idle, losing_first


@check("health.check")
async def it_is_ready(c: Client) -> None:
    answer = await c.health.check()
    equal((answer.ok, answer.status), (True, 200))
    assert (await c.health.check(timeout=5.0)).ok


@check("health.check")
async def it_needs_no_key(c: Client) -> None:
    assert (await c.other(api_key="LS-wrong").health.check()).ok


@check("health.check")
async def it_is_not_ready_while_the_model_loads(c: Client) -> None:
    answer = await c.other("loading").health.check()
    equal((answer.ok, answer.status), (False, 503))


@check("health.check")
async def nobody_is_there(c: Client) -> None:
    answer = await c.other("nobody").health.check()
    equal((answer.ok, answer.status), (False, 0))


@check("models.list")
async def there_is_one_model(c: Client) -> None:
    listed = await c.models.list()
    equal((listed.object, len(listed.data), listed.data[0].object), ("list", 1, "model"))
    chat = await c.chat.create(messages=ASKED, max_tokens=1)
    equal(chat.model, listed.data[0].id)


@check("client.close")
async def a_closed_client_sends_nothing(c: Client) -> None:
    other = c.other()
    await other.models.list()
    await other.close()
    with contextlib.suppress(RuntimeError):  # of httpx, which says that it is closed
        raise AssertionError(f"it went on: {await other.models.list()}")


@check("keys")
async def a_key_is_sent_from_the_environment(c: Client) -> None:
    with environment(LAYERSCALE_LICENSE_KEY=KEY):
        await c.other(api_key=None).models.list()
    with environment():
        await refused("AuthenticationError", c.other(api_key=None).models.list())


@check("keys")
async def a_key_is_sent_in_another_header(c: Client) -> None:
    with environment():
        await c.other(api_key=None, default_headers={"x-api-key": KEY}).models.list()


@check("keys")
async def where_no_key_is_set_any_or_none_will_do(c: Client) -> None:
    with environment():
        for key in ("LS-any", None):
            await c.other("scripted", api_key=key).models.list()


@check("AuthenticationError")
async def a_wrong_key_is_refused_everywhere(c: Client) -> None:
    wrong = c.other(api_key="LS-wrong")
    calls = [
        wrong.models.list(), wrong.chat.create(messages=ASKED), wrong.chat.stream(messages=ASKED),
        wrong.messages.create(messages=ASKED, max_tokens=1), wrong.sessions.list(), wrong.sessions.events("sess_x"),
    ]  # fmt: skip
    for call in calls:
        await refused("AuthenticationError", call, status_code=401, type="authentication_error")


@check("BadRequestError")
async def its_parts_can_be_read(c: Client) -> None:
    error = await refused("BadRequestError", c.chat.create(messages=MESSAGES, temperature=3.0), status_code=400)
    equal((error.type, "temperature" in error.message), ("invalid_request_error", True))
    equal(error.body["error"]["message"], error.message)


@check("BadRequestError")
async def a_prompt_that_is_too_long_says_so(c: Client) -> None:
    for call in (c.chat.create, c.chat.stream):
        error = await refused("BadRequestError", call(messages=TOO_LONG, max_tokens=4))
        equal((error.body["error"]["code"], error.body["error"]["param"]), ("context_length_exceeded", "messages"))
    for call in (c.messages.create, c.messages.stream):
        error = await refused("BadRequestError", call(messages=TOO_LONG, max_tokens=4))
        assert re.fullmatch(r"prompt is too long: \d+ tokens > \d+ maximum", error.message), error.message


@check("NotFoundError")
async def an_unknown_session_is_not_found(c: Client) -> None:
    for call in (c.sessions.get, c.sessions.delete, c.sessions.list_flash, c.sessions.events):
        await refused("NotFoundError", call("sess_nobody"), status_code=404, type="not_found_error")


@check("InternalServerError")
async def a_server_that_loads_its_model_is_unavailable(c: Client) -> None:
    for call in (c.other("loading").chat.create(messages=ASKED), c.other("loading").sessions.list()):
        await refused("InternalServerError", call, status_code=503)


@check("InternalServerError")
async def too_many_request_bodies(c: Client) -> None:
    call = c.other("small").chat.create(messages=[{"role": "user", "content": "x" * 40_000}])
    error = await refused("InternalServerError", call, status_code=503)
    assert "holding too many request bodies" in error.message, error.message


@check("APIStatusError")
async def a_body_that_is_too_large(c: Client) -> None:
    call = c.other("small").chat.create(messages=[{"role": "user", "content": "x" * 100_000}])
    await refused("APIStatusError", call, status_code=413, type="request_too_large")


@check("APIConnectionError")
async def a_port_that_nobody_listens_at(c: Client) -> None:
    for call in (c.other("nobody").models.list(), c.other("nobody").chat.stream(messages=ASKED)):
        await refused("APIConnectionError", call)


@check("APITimeoutError")
async def the_server_stops_what_nobody_waits_for(c: Client) -> None:
    await refused("APITimeoutError", c.other(timeout=0.1).chat.create(**LONG))
    await eventually(lambda: idle(c))


@check("timeouts")
async def none_is_no_limit(c: Client) -> None:
    await c.other(timeout=None).chat.create(messages=ASKED, max_tokens=4)


@check("retries")
async def a_listing_whose_answer_was_lost_is_asked_for_again(c: Client) -> None:
    with losing_first(c.world.urls["main"]) as url:
        await c.other(base_url=url, max_retries=2).models.list()
