"""Messages that are the same, and messages that are not."""

from __future__ import annotations

import pytest

from kvtape.chat.sameness import canonical, digest


def call(arguments, name="f", call_id="call_1"):
    return {"role": "assistant", "tool_calls": [{"id": call_id, "function": {"name": name, "arguments": arguments}}]}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"role": "assistant", "content": None}, {"role": "assistant", "content": "", "reasoning_content": ""}),
        (call('{"a": [1], "b": 2}'), call('{"b":2,\n"a":[1]}', call_id="other")),
        (call(""), call("{}")),
        (call("{broken"), call("{broken")),
    ],
)
def test_the_same(first, second):
    assert canonical(first) == canonical(second)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"role": "user", "content": "a"}, {"role": "system", "content": "a"}),
        ({"role": "user", "content": "a"}, {"role": "user", "content": "a "}),
        ({"role": "tool", "content": "a", "tool_call_id": "1"}, {"role": "tool", "content": "a", "tool_call_id": "2"}),
        ({"role": "assistant", "content": "a"}, {"role": "assistant", "content": "a", "reasoning_content": "b"}),
        (call('{"a": 1}'), call('{"a": 1.0}')),
        (call("{}"), call("{}", name="g")),
        (call("{}"), {"role": "assistant", "content": "{}"}),
    ],
)
def test_not_the_same(first, second):
    assert canonical(first) != canonical(second)


def test_a_digest_stands_for_a_text_and_for_what_it_is_behind():
    assert len({digest("a"), digest("b"), digest("b", behind=digest("a")), digest("\ud800")}) == 4
    assert digest("b", behind=digest("a")) == digest("b", behind=digest("a"))
