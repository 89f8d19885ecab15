"""Calls and results of a conversation: each has its other."""

from __future__ import annotations

import pytest

from kvtape.errors import InvalidRequest
from kvtape.protocols.anthropic.models import Block
from kvtape.protocols.anthropic.turns import Turn, check_tool_blocks, plain_messages


def said(words="x"):
    return Block(text=words)


def call(call_id):
    return Block(type="tool_use", id=call_id, name="f", input={})


def result(call_id, content="done", **fields):
    return Block(type="tool_result", tool_use_id=call_id, content=content, **fields)


def turns(*contents):
    """Turns of user and assistant by turns, whose paths are their places."""
    return [
        Turn("assistant" if n % 2 else "user", blocks, [f"{n}.{m}" for m in range(len(blocks))])
        for n, blocks in enumerate(contents)
    ]


@pytest.mark.parametrize(
    "contents",
    [
        ([said()],),
        ([said()], [said(), call("a"), call("b")], [result("b"), result("a"), said()]),
        ([said()], [call("a")], [result("a")], [call("b")], [result("b")]),
        ([said()], [call("a"), said()], [result("a")]),
    ],
)
def test_what_is_whole_passes(contents):
    check_tool_blocks(turns(*contents))


@pytest.mark.parametrize(
    ("contents", "param"),
    [
        (([result("a")],), "0.0.tool_use_id"),
        (([said()], [said()], [result("a")]), "2.0.tool_use_id"),
        (([said()], [call("a")], [result("b")]), "2.0.tool_use_id"),
        (([said()], [call("a")], [result("a"), result("a")]), "2.1.tool_use_id"),
        (([said()], [call("a")], [result("a")], [said()], [result("a")]), "4.0.tool_use_id"),
        (([said()], [call("a")]), "1.0"),
        (([said()], [call("a")], [said()]), "1.0"),
        (([said()], [call("a"), call("b")], [result("a")]), "1.1"),
        (([said()], [call("a")], [said(), result("a")]), "2.0"),
        (([said()], [call("a"), call("b")], [result("a"), said(), result("b")]), "2.1"),
        (([said()], [call("a"), call("a")], [result("a")]), "1.1.id"),
        (([said()], [call("a")], [result("a")], [call("a")], [result("a")]), "3.0.id"),
    ],
)
def test_what_is_not_is_named(contents, param):
    with pytest.raises(InvalidRequest) as caught:
        check_tool_blocks(turns(*contents))
    assert caught.value.param == param
    assert str(caught.value).startswith(param)


@pytest.mark.parametrize(
    ("block", "text"),
    [
        (result("a", None), ""),
        (result("a", [said("x"), said("y")]), "x\ny"),
        (result("a", "no such file", is_error=True), "Error: no such file"),
        (result("a", "error: no such file", is_error=True), "error: no such file"),
        (result("a", "no such file", is_error=False), "no such file"),
        (result("a", None, is_error=True), "Error: "),
    ],
)
def test_the_text_of_a_result(block, text):
    *_, message = plain_messages(turns([said()], [call("a")], [block]))
    assert message == {"role": "tool", "content": text, "tool_call_id": "a", "name": "f"}


def test_text_around_calls_is_what_the_model_wrote():
    _, message, *_ = plain_messages(
        turns([said()], [said("a "), call("1"), said("b"), said("c"), call("2"), said("d")])
    )
    assert message["content"] == "a b\ncd"


def test_a_turn_without_blocks_is_empty_and_not_gone():
    assert plain_messages(turns([], [])) == [{"role": "user", "content": ""}, {"role": "assistant", "content": ""}]
