"""Requests made from the server's own OpenAPI document, valid and spoiled: each is answered as the document says."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator, MutableMapping
from typing import Any

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from kvtape import Engine
from kvtape.server import create_app
from kvtape.server.operations import OPERATIONS
from tests.serving import eventually, running

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
LONGEST = 30.0  # seconds; nothing that a request asks for here takes as long
MAX_TOKENS = 4  # of an answer: what is looked for is not in its length
KINDS = ("ohlcv", "iot", "spatial", "event", "vitals", "text")
ENDLESS = "/v1/sessions/{session_id}/events"  # of a session that lives; tests of hostile clients have it


class Server:
    """A server over a tiny engine, and the sessions that requests are sent to."""

    def __init__(self, url: str, engine: Engine) -> None:
        self.url = url
        self.engine = engine
        self.http = httpx.Client(base_url=url, timeout=LONGEST)
        self.session = requests.Session()
        self.statuses: Counter[tuple[str, int]] = Counter()
        self._ids: list[str] = []
        self._n_calls = 0

    def session_id(self) -> str:
        """Return the id of a live session, of each type in turn."""
        self._n_calls += 1
        kind = KINDS[self._n_calls % len(KINDS)]
        live = {entry["id"]: entry for entry in self.http.get("/v1/sessions").json()["data"]}
        found = [name for name, entry in live.items() if entry["type"] == kind and entry["tokens"] < 400]
        if found:
            return found[0]
        if len(live) > 20:
            self.delete_all()
        path = "/v1/sessions" if kind == "text" else "/v1/sessions/init"
        made = self.http.post(path, json={"type": kind, "flash": [{"query": "up?", "max_tokens": 1}]})
        return str(made.json()["id"])

    def delete_all(self) -> None:
        for entry in self.http.get("/v1/sessions").json()["data"]:
            self.http.delete(f"/v1/sessions/{entry['id']}")

    def _bind(self, case: Any) -> None:
        """Make one turn of four a turn of a session that there is, and the others turns of none."""
        named = self.session_id() if self._n_calls % 4 == 0 else None
        for place in (case.headers, case.body):
            name = "session_id" if place is case.body else "x-layerscale-session-id"
            if isinstance(place, MutableMapping) and place.pop(name, None) is not None and named:
                place[name] = named

    def send(self, case: Any) -> None:
        """Send a case and check the answer."""
        body = case.body
        if isinstance(body, dict):
            for name in ("max_tokens", "max_completion_tokens"):
                if "/flash" not in case.path and type(body.get(name)) is int:
                    body[name] = min(body[name], MAX_TOKENS)
            if "max_completion_tokens" not in body and case.path != "/v1/sessions/{session_id}/flash":
                body.setdefault("max_tokens", MAX_TOKENS)
        self._bind(case)
        if "session_id" in case.path_parameters and case.path != ENDLESS and self._n_calls % 8 != 7:
            case.path_parameters["session_id"] = self.session_id()
        else:
            self._n_calls += 1
        began = time.monotonic()
        response = case.call(base_url=self.url, session=self.session, timeout=LONGEST)
        assert time.monotonic() - began < LONGEST
        self.statuses[f"{case.method} {case.path}", response.status_code] += 1
        case.validate_response(response, checks=CHECKS)


@pytest.fixture(scope="module")
def server(make_tiny_model) -> Iterator[Server]:
    with Engine(make_tiny_model(n_ctx=512), kv_memory="16M", n_threads=1) as engine, running(create_app(engine)) as url:
        server = Server(url, engine)
        with server.http, server.session:
            yield server


@pytest.fixture(scope="module")
def schema(server):
    return schemathesis.openapi.from_dict(server.http.get("/openapi.json").json())


def run(server: Server, schema: Any, *, n_each: int, number: int) -> int:
    """Send `n_each` requests to each operation and mode; return how many were sent."""
    before = sum(server.statuses.values())
    for result in schema.get_all_operations():
        operation = result.ok()
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            if mode is GenerationMode.NEGATIVE and operation.method == "get" and "{session_id}" not in operation.path:
                continue  # there is nothing to spoil
            case_strategy = operation.as_strategy(generation_mode=mode)

            @seed(number)
            @settings(
                max_examples=n_each,
                database=None,
                deadline=None,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            @given(case=case_strategy)
            def send(case: Any) -> None:
                server.send(case)

            send()
    return sum(server.statuses.values()) - before


def check_nothing_is_left(server: Server) -> None:
    server.delete_all()
    eventually(lambda: server.engine.stats().n_sequences == 0)
    assert server.engine.stats().running == server.engine.stats().queued == 0
    health = server.http.get("/health").json()
    assert (health["status"], health["sessions"], health["connections"]) == ("ok", 0, 0)


def test_answers_are_as_described(server, schema):
    assert run(server, schema, n_each=4, number=1) > 150
    called = {name for name, _ in server.statuses}
    assert called == {f"{method} {path}" for method, path in OPERATIONS}
    check_nothing_is_left(server)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("number", range(2, 6))
def test_thousands_of_answers_are_as_described(server, schema, number):
    run(server, schema, n_each=2, number=number)  # warm: buffers and caches have their size
    n_bytes = resident_bytes()
    server.statuses.clear()
    n_sent = run(server, schema, n_each=17, number=number)
    check_nothing_is_left(server)
    accepted: Counter[tuple[str, bool]] = Counter()
    for (name, status), count in server.statuses.items():
        accepted[name, status < 400] += count
    for name in sorted({name for name, _ in accepted}):
        print(f"{name}: {accepted[name, True]} accepted, {accepted[name, False]} refused")
    print(f"{n_sent} requests; {(resident_bytes() - n_bytes) / 1e6:.1f} MB more")
    assert n_sent >= 750
    assert resident_bytes() - n_bytes < 64e6


def resident_bytes() -> int:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
