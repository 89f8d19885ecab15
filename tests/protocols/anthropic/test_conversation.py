"""Messages to plain conversations."""

from __future__ import annotations

import msgspec
import pytest

from kvtape.errors import InvalidRequest
from kvtape.protocols.anthropic.conversation import Prompt, read_prompt
from kvtape.protocols.anthropic.models import Block, InputMessage

MARK = {"cache_control": {"type": "ephemeral"}}


def read(*messages, system=None, mark_last=False):
    return read_prompt(
        msgspec.convert(system, str | list[Block] | None),
        msgspec.convert(list(messages), list[InputMessage]),
        mark_last=mark_last,
    )


def user(content):
    return {"role": "user", "content": content}


def assistant(content):
    return {"role": "assistant", "content": content}


def text(words, **fields):
    return {"type": "text", "text": words, **fields}


def test_text_and_blocks_are_the_same():
    plain = Prompt([{"role": "system", "content": "S"}, user("Hi")])
    assert read(user("Hi"), system="S") == plain
    assert read(user([text("Hi", citations=None)]), system=[text("S")]) == plain
    assert read(user([{"text": "Hi"}]), system="S") == plain


def test_blocks_are_paragraphs():
    assert read(user([text("a"), text("b")]), system=[text("c"), text("d")]).messages == [
        {"role": "system", "content": "c\nd"},
        user("a\nb"),
    ]


@pytest.mark.parametrize("system", [None, "", []])
def test_no_system_prompt(system):
    assert read(user("Hi"), system=system).messages == [user("Hi")]


def test_messages_of_one_role_in_a_row_are_one():
    prompt = read(user("a"), user([text("b")]), assistant("c"), assistant("d"), user("e"))
    assert prompt == Prompt([user("a\nb"), assistant("c\nd"), user("e")])


def test_a_last_message_of_the_assistant_is_continued():
    assert read(user("a"), assistant("The"), assistant("best")) == Prompt([user("a")], prefill="The\nbest")
    assert read(user("a"), assistant("")) == Prompt([user("a")])


def test_reasoning_of_earlier_turns_goes_to_the_template():
    thought = {"type": "thinking", "thinking": "hm", "signature": "x"}
    prompt = read(user("a"), assistant([thought, {"type": "redacted_thinking", "data": "?"}, text("b")]), user("c"))
    assert prompt.messages[1] == {"role": "assistant", "content": "b", "reasoning_content": "hm"}


def test_a_mark_cuts_what_follows_it():
    prompt = read(user([text("a", **MARK), text("b")]), assistant("c"), user("d"), system="S")
    system = {"role": "system", "content": "S"}
    assert prompt.messages == [system, user("a\nb"), assistant("c"), user("d")]
    assert prompt.marked == Prompt([system, user("a"), assistant(""), user("")])


def test_the_last_mark_counts():
    prompt = read(user([text("a", **MARK)]), assistant([text("b"), text("c", **MARK)]), user("d"), system="S")
    assert prompt.marked.messages[1:] == [user("a"), assistant("b\nc"), user("")]
    assert read(user("a"), system=[text("S", **MARK)]).marked.messages == [{"role": "system", "content": "S"}, user("")]


def test_everything_can_be_marked():
    prompt = read(user("a"), assistant("b"), mark_last=True)
    assert prompt.marked == Prompt([user("a")], prefill="b")
    assert read(user("a")).marked is None


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([], "messages"),
        ([assistant("x")], "messages"),
        ([{"role": "system", "content": "x"}], "messages[0].role"),
        ([user("x"), {"role": "robot", "content": ""}], "messages[1].role"),
        ([user([{"type": "image", "source": {}}])], "messages[0].content[0]"),
        ([user([text("x"), {"type": "document", "source": {}}])], "messages[0].content[1]"),
        ([user([{"type": "tool_result", "tool_use_id": "t", "content": "x"}])], "messages[0].content[0]"),
        ([user([{"type": "thinking", "thinking": "x"}])], "messages[0].content[0]"),
        ([user([{"type": "redacted_thinking", "data": "x"}])], "messages[0].content[0]"),
        ([user("x"), assistant([{"type": "tool_use", "id": "t", "name": "f", "input": {}}])], "messages[1].content[0]"),
        ([user([{"type": "text"}])], "messages[0].content[0].text"),
        ([user("x"), assistant([{"type": "thinking"}]), user("y")], "messages[1].content[0].thinking"),
        ([user("x"), assistant("ends with a space ")], "messages[1].content"),
        ([user("x"), assistant([{"type": "thinking", "thinking": "hm"}, text("a")])], "messages[1].content"),
    ],
)
def test_refusals_name_the_path(messages, param):
    with pytest.raises(InvalidRequest) as caught:
        read(*messages)
    assert caught.value.param == param
    assert param.partition(" ")[0] in str(caught.value)


def test_the_system_prompt_is_text():
    with pytest.raises(InvalidRequest) as caught:
        read(user("x"), system=[text("a"), {"type": "image"}])
    assert caught.value.param == "system[1]"
