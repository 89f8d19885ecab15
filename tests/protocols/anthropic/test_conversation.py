"""Messages to plain conversations."""

from __future__ import annotations

import msgspec
import pytest

from kvtape.errors import InvalidRequest
from kvtape.protocols.anthropic.conversation import read_conversation
from kvtape.protocols.anthropic.models import Block, InputMessage, ToolInput
from kvtape.protocols.anthropic.thinking import sign
from kvtape.types import ChatPrompt, Tool

MARK = {"cache_control": {"type": "ephemeral"}}
TOOLS = ("f", "g")


def read(*messages, system=None, mark_last=False, tools=()):
    return read_conversation(
        msgspec.convert(system, str | list[Block] | None),
        msgspec.convert(list(messages), list[InputMessage]),
        msgspec.convert(list(tools), list[ToolInput]),
        mark_last=mark_last,
    )


def filled(conversation):
    return conversation.fill(ChatPrompt(messages=[], tools=tuple(Tool(name) for name in TOOLS)))


def shown(*messages, **options):
    """The messages and the prefill."""
    prompt = filled(read(*messages, **options))
    return prompt.messages, prompt.prefill


def marked(*messages, **options):
    prompt = filled(read(*messages, **options).marked())
    return prompt.messages, prompt.prefill


def user(content):
    return {"role": "user", "content": content}


def assistant(content):
    return {"role": "assistant", "content": content}


def system(content):
    return {"role": "system", "content": content}


def text(words, **fields):
    return {"type": "text", "text": words, **fields}


def call(name="f", call_id="t1", **fields):
    return {"type": "tool_use", "id": call_id, "name": name, "input": {}, **fields}


def result(content="done", call_id="t1", **fields):
    return {"type": "tool_result", "tool_use_id": call_id, "content": content, **fields}


def test_text_and_blocks_are_the_same():
    plain = ([system("S"), user("Hi")], "")
    assert shown(user("Hi"), system="S") == plain
    assert shown(user([text("Hi", citations=None)]), system=[text("S")]) == plain
    assert shown(user([{"text": "Hi"}]), system="S") == plain


def test_blocks_are_paragraphs():
    assert shown(user([text("a"), text("b")]), system=[text("c"), text("d")])[0] == [system("c\nd"), user("a\nb")]


@pytest.mark.parametrize("nothing", [None, "", []])
def test_no_system_prompt(nothing):
    assert shown(user("Hi"), system=nothing)[0] == [user("Hi")]


def test_messages_of_one_role_in_a_row_are_one():
    messages, _ = shown(user("a"), user([text("b")]), assistant("c"), assistant("d"), user("e"))
    assert messages == [user("a\nb"), assistant("c\nd"), user("e")]


def test_the_system_may_speak_again():
    messages, _ = shown(user("a"), system("b"), user("c"), system="S")
    assert messages == [system("S"), user("a"), system("b"), user("c")]


def test_a_last_message_of_the_assistant_is_continued():
    assert shown(user("a"), assistant("The"), assistant("best")) == ([user("a")], "The\nbest")
    assert shown(user("a"), assistant("")) == ([user("a")], "")


def test_reasoning_of_earlier_turns_goes_to_the_template():
    thought = {"type": "thinking", "thinking": "hm", "signature": "x"}
    redacted = {"type": "redacted_thinking", "data": "?"}
    messages, _ = shown(user("a"), assistant([thought, redacted, text("b")]), user("c"))
    assert messages[1] == {**assistant("b"), "reasoning_content": "hm"}


def test_reasoning_that_was_not_shown_comes_back_in_its_signature():
    thought = {"type": "thinking", "thinking": "", "signature": sign("hm", shown=False)}
    assert shown(user("a"), assistant([thought, text("b")]), user("c"))[0][1]["reasoning_content"] == "hm"


def test_calls_and_results_have_the_form_that_all_dialects_share():
    messages, _ = shown(
        user("a"),
        assistant([text("b"), call(input={"z": 1, "a": "é"}), call("g", "t2")]),
        user([result([text("x"), text("y")], "t2"), result("none", is_error=True), text("c")]),
    )
    calls = [
        {"id": "t1", "type": "function", "function": {"name": "f", "arguments": '{"z": 1, "a": "é"}'}},
        {"id": "t2", "type": "function", "function": {"name": "g", "arguments": "{}"}},
    ]
    assert messages == [
        user("a"),
        {**assistant("b"), "tool_calls": calls},
        {"role": "tool", "content": "x\ny", "tool_call_id": "t2", "name": "g"},
        {"role": "tool", "content": "Error: none", "tool_call_id": "t1", "name": "f"},
        user("c"),
    ]


def test_a_mark_cuts_what_follows_it():
    conversation = user([text("a", **MARK), text("b")]), assistant("c"), user("d")
    assert shown(*conversation, system="S")[0] == [system("S"), user("a\nb"), assistant("c"), user("d")]
    assert marked(*conversation, system="S") == ([system("S"), user("a"), assistant(""), user("")], "")


def test_the_last_mark_counts():
    conversation = user([text("a", **MARK)]), assistant([text("b"), text("c", **MARK)]), user("d")
    assert marked(*conversation, system="S")[0][1:] == [user("a"), assistant("b\nc"), user("")]
    assert marked(user("a"), system=[text("S", **MARK)])[0] == [system("S"), user("")]


def test_calls_and_results_can_be_marked():
    called = user("a"), assistant([text("b"), call(), call("g", "t2", **MARK)])
    messages, _ = marked(*called, user([result(), result("", "t2")]))
    assert [len(message.get("tool_calls", ())) for message in messages] == [0, 2, 0]
    answered = marked(user("a"), assistant([call()]), user([result("x", **MARK), text("c")]))[0]
    assert [message["role"] for message in answered] == ["user", "assistant", "tool"]
    inside = marked(user("a"), assistant([call()]), user([result([text("x", **MARK)]), text("c")]))[0]
    assert inside == answered


def test_everything_can_be_marked():
    assert marked(user("a"), assistant("b"), mark_last=True) == ([user("a")], "b")
    assert read(user("a")).marked() is None


def test_a_marked_tool_counts_the_system_prompt_in():
    tools = [{"name": "f", **MARK}, {"name": "g"}]
    conversation = read(user("a"), system="S", tools=tools).marked()
    assert filled(conversation).messages == [system("S"), user("")]
    assert [tool.name for tool in filled(conversation).tools] == ["f"]
    later = read(user([text("a", **MARK)]), tools=tools).marked()
    assert [tool.name for tool in filled(later).tools] == ["f", "g"]
    assert filled(read(user("a"), tools=tools).marked()).messages == [user("")]


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([], "messages"),
        ([assistant("x")], "messages"),
        ([system("x")], "messages"),
        ([user("x"), {"role": "robot", "content": ""}], "messages[1].role"),
        ([user([{"type": "image", "source": {}}])], "messages[0].content[0]"),
        ([user([text("x"), {"type": "document", "source": {}}])], "messages[0].content[1]"),
        ([user([{"type": "thinking", "thinking": "x"}])], "messages[0].content[0]"),
        ([user([{"type": "redacted_thinking", "data": "x"}])], "messages[0].content[0]"),
        ([user([call()])], "messages[0].content[0]"),
        ([user("x"), assistant([result()])], "messages[1].content[0]"),
        ([user("x"), assistant([{"type": "server_tool_use"}])], "messages[1].content[0]"),
        ([user("x"), assistant([{"type": "tool_use", "id": "t", "name": "f"}])], "messages[1].content[0].input"),
        ([user([{"type": "tool_result"}])], "messages[0].content[0].tool_use_id"),
        ([user([{"type": "text"}])], "messages[0].content[0].text"),
        ([user("x"), assistant([{"type": "thinking"}]), user("y")], "messages[1].content[0].thinking"),
        ([user("x"), assistant("ends with a space ")], "messages[1].content"),
        ([user("x"), assistant([{"type": "thinking", "thinking": "hm"}, text("a")])], "messages[1].content"),
        (
            [user("x"), assistant([call()]), user([result([text("x"), {"type": "image"}])])],
            "messages[2].content[0].content[1]",
        ),
        (
            [user("x"), assistant([{"type": "thinking", "thinking": "a", "signature": sign("b", shown=True)}])],
            "messages[1].content[0].signature",
        ),
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
