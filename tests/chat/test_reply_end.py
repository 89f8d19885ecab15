"""Where a reply ends, on the tokenizer of a tiny model: its end tokens are `<|im_end|>` and `<|endoftext|>`."""

from __future__ import annotations

import pytest

from kvtape.chat.reply_end import ReplyEnds
from kvtape.errors import InvalidRequest
from kvtape.model.load import load
from kvtape.types import ChatPrompt, FinishReason, ParsedReply, ToolCall


@pytest.fixture(scope="module")
def tokenizer(make_tiny_model):
    return load(make_tiny_model()).tokenizer


@pytest.fixture
def ends(tokenizer):
    return ReplyEnds(tokenizer)


def render(prompt, asks):
    calls = [[call["function"]["name"] for call in message.get("tool_calls", ())] for message in prompt.messages]
    shown = [str(names) if names else m["content"].strip() for names, m in zip(calls, prompt.messages, strict=True)]
    return "<|im_end|>\n".join(shown) + "<|im_end|>\n" + ("[reply]" if asks else "")


def reply(content="", names=()):
    calls = [{"id": "1", "type": "function", "function": {"name": name, "arguments": "{}"}} for name in names]
    return {"role": "assistant", "content": content, **({"tool_calls": calls} if calls else {})}


@pytest.mark.parametrize(
    "message",
    [reply("hello"), reply("banana"), reply(""), reply(" a \n"), reply("untold", ["f", "g"]), reply("", ["a"])],
)
@pytest.mark.parametrize("later", [[], [{"role": "user", "content": "hello"}, reply("hello")]])
@pytest.mark.parametrize("asks", [True, False])
def test_a_reply_ends_at_the_end_token_behind_it(ends, message, later, asks):
    prompt = ChatPrompt(messages=[{"role": "user", "content": "hello"}, message, *later])
    text = render(prompt, asks)
    before = render(ChatPrompt(messages=prompt.messages[:2]), False)
    assert ends.of_reply(prompt, 2, text, render, asks) == len(before) - len("<|im_end|>\n")


def test_a_reply_that_is_not_shown_or_not_ended_ends_nowhere(ends):
    prompt = ChatPrompt(messages=[{"role": "user", "content": "a"}, reply("b")])
    assert ends.of_reply(prompt, 2, "a<|im_end|>", lambda *_: "a<|im_end|>", True) is None
    assert ends.of_reply(prompt, 2, "b", lambda given, _: given.messages[1]["content"], True) is None

    def refuse(*_):
        raise InvalidRequest("no")

    assert ends.of_reply(prompt, 2, "a", refuse, True) is None


def test_the_ids_that_show_a_reply(ends, tokenizer):
    stop, length = FinishReason.STOP, FinishReason.LENGTH
    ids, eos = tokenizer.encode("the user"), min(tokenizer.eos_ids)
    said = ParsedReply("the user")
    assert ends.shown_ids(said, [*ids, eos], stop) == ids
    assert ends.shown_ids(said, ids, length) == ids
    assert ends.shown_ids(ParsedReply(" the user\n"), ids, length) == ids
    assert ends.shown_ids(said, ids, stop) is None  # a stop string ended it
    assert ends.shown_ids(said, ids, None) is None
    assert ends.shown_ids(ParsedReply("the use"), ids, length) is None
    assert ends.shown_ids(said, [eos, *ids, eos], stop) is None
    assert ends.shown_ids(ParsedReply("user", "the"), ids, length) == ids
    for complete, wanted in ((True, ids), (False, None)):
        assert ends.shown_ids(ParsedReply("", None, [ToolCall("f", "{}", complete)]), ids, length) == wanted
