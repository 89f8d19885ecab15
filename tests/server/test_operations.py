"""The table of operations against the routes that there are."""

from __future__ import annotations

from collections import Counter

from kvtape.server import create_app
from kvtape.server.openapi import methods_of
from kvtape.server.operations import OPERATIONS


def test_each_route_has_its_entry_and_each_entry_its_route():
    app = create_app(lambda: None)
    routes = list(methods_of(app.routes))
    assert len(routes) == len(set(routes))
    assert set(routes) == set(OPERATIONS)


def test_ids_are_unique_and_summaries_are_sentences():
    ids = Counter(operation.id for operation in OPERATIONS.values())
    assert max(ids.values()) == 1
    for operation in OPERATIONS.values():
        assert operation.id.isidentifier()
        assert operation.summary.endswith(".")


def test_bodies_bring_their_errors():
    for (method, path), operation in OPERATIONS.items():
        assert (operation.body is None) or {400, 408, 413} <= set(operation.errors), (method, path)
        assert ("{session_id}" in path) <= ({400, 404} <= set(operation.errors)), (method, path)
        wanted = {part[1:-1] for part in path.split("/") if part.startswith("{")}
        assert {each.name for each in operation.parameters if each.place == "path"} == wanted
