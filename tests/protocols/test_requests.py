"""Paths and wording of errors in request bodies."""

from __future__ import annotations

from types import SimpleNamespace

import msgspec
import pytest

from kvtape.errors import InvalidRequest
from kvtape.protocols.requests import decode_object, decode_request, refuse_all, refuse_unless


class Item(msgspec.Struct):
    name: str


class Body(msgspec.Struct):
    items: list[Item]
    size: int = 3


@pytest.mark.parametrize("body", [b"{", b"[1]", b"null", b"7", b'"x"', b"true", b"\xff\xfe", b"[" * 100_000])
def test_what_is_not_an_object_is_refused(body):
    with pytest.raises(InvalidRequest, match="request body"):
        decode_object(body)


def test_an_empty_body_is_an_empty_object():
    assert decode_object(b"") == {}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"{}", "items"),
        (b'{"items": 5}', "items"),
        (b'{"items": [{"name": "a"}, {}]}', "items[1].name"),
        (b'{"items": [{"name": "a"}, {"name": 4}]}', "items[1].name"),
        (b'{"items": [], "size": "big"}', "size"),
    ],
)
def test_errors_name_the_path(body, param):
    with pytest.raises(InvalidRequest) as caught:
        decode_request(body, Body)
    assert caught.value.param == param
    assert str(caught.value).startswith(param)


def test_aliases_give_way_to_the_name_itself():
    aliases = {"maxSize": "size", "max_size": "size"}
    assert decode_request(b'{"items": [], "maxSize": 5}', Body, aliases).size == 5
    assert decode_request(b'{"items": [], "maxSize": 5, "size": 6}', Body, aliases).size == 6


def test_unknown_fields_are_ignored():
    assert decode_request(b'{"items": [{"name": "a", "x": 1}], "y": {}}', Body) == Body([Item("a")])


def test_refusal_names_the_parameter():
    refuse_unless(True, "n", "must be 1")
    with pytest.raises(InvalidRequest, match="n must be 1") as caught:
        refuse_unless(False, "n", "must be 1")
    assert caught.value.param == "n"


@pytest.mark.parametrize("value", [None, False, [], {}, ""])
def test_a_field_that_asks_for_nothing_passes(value):
    refuse_all(SimpleNamespace(tools=value), ["tools"])


def test_a_field_that_asks_for_something_is_refused_by_name():
    with pytest.raises(InvalidRequest) as caught:
        refuse_all(SimpleNamespace(tools=[], regex="a"), ["tools", "regex"])
    assert caught.value.param == "regex"
