"""Kept turns: on the tokenizer and the template of a tiny model, with replies cut as no tokenizer would."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvtape.chat.splice import Splices, splices_of
from kvtape.chat.template import ChatTemplate, template_of
from kvtape.errors import InvalidRequest
from kvtape.model.load import Model, load
from kvtape.types import ChatPrompt, FinishReason, ParsedReply, Tool, ToolCall

HELLO = {"role": "user", "content": "the system and the user"}
MORE = {"role": "user", "content": "and the closing"}
CALLS = """
{%- for message in messages %}<|im_start|>{{ message.role }}
{{ message.content }}{% for call in message.tool_calls %}
<tool_call>
{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments }}}
</tool_call>{% endfor %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""


@pytest.fixture(scope="module")
def model(make_tiny_model: Callable[..., Path]) -> Model:
    return load(make_tiny_model())


class Chat:
    """A client of one model: asks, is answered with given ids, and resends what it saw."""

    def __init__(self, model: Model, source: str | None = None, **options: Any) -> None:
        self.tokenizer = model.tokenizer
        self.splices = Splices(model.tokenizer, **options)
        template = template_of(model) if source is None else ChatTemplate(source)
        assert template is not None
        self._template = template
        self.messages: list[dict[str, Any]] = []
        self.variables: dict[str, Any] = {}

    def render(self, prompt: ChatPrompt, asks: bool) -> str:
        return self._template.render(prompt.messages, add_generation_prompt=asks, **self.variables)

    def plain(self, **fields: Any) -> list[int]:
        prompt = ChatPrompt(messages=self.messages, **fields)
        return self.tokenizer.encode(self.render(prompt, True) + prompt.prefill, parse_special=True)

    def encode(self, **fields: Any) -> list[int]:
        self.encoded = self.splices.encode(ChatPrompt(messages=list(self.messages), **fields), self.render)
        return self.encoded.token_ids

    def answer(
        self,
        ids: list[int],
        *,
        reply: ParsedReply | None = None,
        finish: FinishReason = FinishReason.STOP,
        end: bool = True,
    ) -> None:
        """Keep a reply as it was generated, and put what a client sees of it to the messages."""
        reply = reply or ParsedReply(self.tokenizer.decode(ids))
        ends = [min(self.tokenizer.eos_ids)] if end else []
        self.splices.keep(self.encoded, reply, ids + ends, finish)
        calls = [
            {"id": f"call_{random.random()}", "function": {"name": call.name, "arguments": call.arguments}}
            for call in reply.tool_calls
        ]
        content = self.encoded.prompt.prefill + reply.content
        self.messages.append({"role": "assistant", "content": content, "tool_calls": calls})

    def turn(self, *messages: dict[str, Any], **answered: Any) -> tuple[list[int], list[int]]:
        """One turn; the prompt's ids, and those of the reply, which are one a byte."""
        self.messages += messages
        prompt = self.encode()
        ids = bytewise(self, "the user")
        self.answer(ids, **answered)
        return prompt, ids


def bytewise(chat: Chat, text: str) -> list[int]:
    """Ids of a text as the tokenizer would never cut it."""
    ids = [token_id for character in text for token_id in chat.tokenizer.encode(character)]
    assert chat.tokenizer.decode(ids) == text
    return ids


@pytest.fixture
def chat(model: Model) -> Chat:
    return Chat(model)


def test_a_follow_up_turn_continues_the_generated_ids(chat):
    prompt, generated = chat.turn(HELLO)
    chat.messages.append(MORE)
    ids = chat.encode()
    assert generated != chat.tokenizer.encode("the user")
    assert ids[: len(prompt) + len(generated)] == prompt + generated
    assert ids != chat.plain()
    assert chat.tokenizer.decode(ids, special=True) == chat.tokenizer.decode(chat.plain(), special=True)


def test_many_turns_continue_each_other(chat):
    for _ in range(20):
        before = [*chat.turn(HELLO)]
        chat.messages.append(MORE)
        assert chat.encode()[: sum(map(len, before))] == before[0] + before[1]
        chat.answer(bytewise(chat, "a"))
    assert chat.tokenizer.decode(chat.encode(), special=True) == chat.tokenizer.decode(chat.plain(), special=True)


def test_a_first_turn_is_encoded_as_ever(chat):
    chat.messages.append(HELLO)
    assert chat.encode() == chat.plain()
    assert chat.encode(prefill="the") == chat.plain(prefill="the")


def test_a_conversation_may_branch_from_any_of_its_turns(chat):
    first = chat.turn(HELLO)
    second = chat.turn(MORE)
    chat.messages[2:] = [{"role": "user", "content": "other"}]
    ids = chat.encode()
    assert ids[: len(first[0]) + len(first[1])] == first[0] + first[1]
    assert ids[: len(second[0])] != second[0]


def test_another_conversation_is_not_touched(chat):
    chat.turn(HELLO)
    for messages in (
        [{"role": "user", "content": "hello"}, chat.messages[1]],
        [HELLO, {"role": "assistant", "content": "the  user"}],
        [HELLO, {**chat.messages[1], "reasoning_content": "a"}],
        [{**HELLO, "role": "system"}, chat.messages[1]],
    ):
        chat.messages = [*messages, MORE]
        assert chat.encode() == chat.plain()


def test_tools_and_options_are_part_of_the_conversation(chat):
    chat.turn(HELLO)
    chat.messages.append(MORE)
    assert chat.encode() != chat.plain()
    assert chat.encode(tools=(Tool("f"),)) == chat.plain()
    assert chat.encode(template_options={"a": 1}) == chat.plain()


def test_a_prefill_is_part_of_the_reply(chat):
    chat.messages.append(HELLO)
    prompt = chat.encode(prefill="the use")
    generated = bytewise(chat, "r and")
    chat.answer(generated)
    assert chat.messages[-1]["content"] == "the user and"
    chat.messages.append(MORE)
    assert chat.encode()[: len(prompt) + len(generated)] == prompt + generated


@pytest.mark.parametrize(
    "answered",
    [
        {"end": False},  # a stop string
        {"finish": FinishReason.CANCELLED},
        {"finish": FinishReason.ERROR},
        {"finish": FinishReason.LENGTH},  # with an end token inside that no text shows
        {"reply": ParsedReply("the user", reasoning="hm")},
        {"reply": ParsedReply("the")},  # its text is not what was generated
        {"reply": ParsedReply("the user", tool_calls=[ToolCall("f", '{"a": ', False)])},
        {"reply": ParsedReply("", tool_calls=[ToolCall("f", '{"a": "<|im_end|>"}', True)])},
    ],
    ids=["stop string", "cancelled", "error", "ends", "reasoning", "other text", "cut call", "end in call"],
)
def test_what_is_not_kept(chat, answered):
    chat.turn(HELLO, **answered)
    chat.messages.append(MORE)
    assert chat.encode() == chat.plain()


def test_a_reply_cut_at_its_length_is_kept(chat):
    prompt, generated = chat.turn(HELLO, finish=FinishReason.LENGTH, end=False)
    chat.messages.append(MORE)
    assert chat.encode()[: len(prompt) + len(generated)] == prompt + generated


def test_a_character_cut_in_two_is_not_kept(chat):
    chat.messages.append(HELLO)
    chat.encode()
    chat.answer(chat.tokenizer.encode("日")[:1], reply=ParsedReply(""), finish=FinishReason.LENGTH, end=False)
    chat.messages.append(MORE)
    assert chat.encode() == chat.plain()


@pytest.mark.parametrize("spaces", ['{"b":1,"a":[2]}', '{"a": [2], "b": 1}', '{ "a":\n[2],"b" :1}'])
def test_a_call_is_known_however_its_arguments_are_written(model, spaces):
    chat = Chat(model, CALLS)
    chat.messages.append(HELLO)
    prompt = chat.encode()
    generated = bytewise(chat, '<tool_call>{"name":"f","arguments":{"b":1, "a":[2]}}</tool_call>')
    chat.answer(generated, reply=ParsedReply("", tool_calls=[ToolCall("f", '{"b":1, "a":[2]}', True)]))
    chat.messages[-1]["tool_calls"][0]["function"]["arguments"] = spaces
    chat.messages[-1]["content"] = None
    chat.messages.append({"role": "tool", "content": "ok", "tool_call_id": "call_1"})
    ids = chat.encode()
    assert ids[: len(prompt) + len(generated)] == prompt + generated
    assert chat.tokenizer.decode(ids[len(prompt) + len(generated) :], special=True) == (
        "<|im_end|>\n<|im_start|>tool\nok<|im_end|>\n<|im_start|>assistant\n"
    )
    chat.messages[-2]["tool_calls"][0]["function"]["arguments"] = '{"a": [3], "b": 1}'
    assert chat.encode() == chat.plain()


ASK = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
EACH = "{% for message in messages %}<|im_start|>{{ message.role }}\n"


@pytest.mark.parametrize(
    "source",
    [
        # The text before the reply changes: a mark on the last message alone.
        EACH + "{{ message.content }}{% if loop.last %}!{% endif %}<|im_end|>\n{% endfor %}" + ASK,
        EACH + "{{ message.content | upper }}<|im_end|>\n{% endfor %}" + ASK,
        EACH + "{{ message.content }}{% endfor %}" + ASK,  # no end token
    ],
    ids=["last", "upper", "open"],
)
def test_templates_that_allow_no_splicing_get_what_they_write(model, source):
    chat = Chat(model, source)
    chat.turn(HELLO)
    chat.messages.append(MORE)
    assert chat.encode() == chat.plain()


@pytest.mark.parametrize(
    "source",
    [
        EACH + "{{ message.content }}<|im_end|><|im_end|>{% endfor %}" + ASK,
        "{% if not add_generation_prompt %}{{ raise_exception('the user has the last word') }}{% endif %}"
        + EACH
        + "{{ message.content }}<|im_end|>{% endfor %}"
        + ASK,
    ],
    ids=["twice", "refuses"],
)
def test_a_reply_ends_where_the_template_ends_it(model, source):
    chat = Chat(model, source)
    prompt, generated = chat.turn(HELLO)
    chat.messages.append(MORE)
    ids = chat.encode()
    assert ids[: len(prompt) + len(generated)] == prompt + generated
    assert chat.tokenizer.decode(ids, special=True) == chat.tokenizer.decode(chat.plain(), special=True)


def test_a_template_that_trims_is_understood(model):
    chat = Chat(model, EACH + "{{ message.content | trim }}<|im_end|>\n{% endfor %}" + ASK)
    chat.messages.append(HELLO)
    prompt = chat.encode()
    generated = bytewise(chat, " the user\n")
    chat.answer(generated)
    chat.messages.append(MORE)
    assert chat.encode()[: len(prompt) + len(generated)] == prompt + generated


def test_a_template_with_a_clock_starts_afresh_when_it_moves(model):
    chat = Chat(model, "{{ day }}" + EACH + "{{ message.content }}<|im_end|>\n{% endfor %}" + ASK)
    chat.variables["day"] = "1"
    chat.turn(HELLO)
    chat.variables["day"] = "2"
    chat.messages.append(MORE)
    assert chat.encode() == chat.plain()
    chat.messages = []
    prompt, generated = chat.turn(HELLO)
    chat.messages.append(MORE)
    assert chat.encode()[: len(prompt) + len(generated)] == prompt + generated


def test_the_oldest_turns_go_first_and_a_turn_before_its_parent(model):
    chat = Chat(model, max_ids=2000)
    chat.turn(HELLO)
    long_ago = list(chat.messages)
    for i in range(40):
        if i % 5 == 0:
            chat.messages = []
        chat.turn({"role": "user", "content": f"the {i}"})
        kept = chat.splices._turns
        assert chat.splices._n_ids == sum(len(turn.own_ids) + 128 for turn in kept.values()) <= 2000
        assert all(turn.parent is None or kept[turn.parent.key] is turn.parent for turn in kept.values())
    assert chat.encode() != chat.plain()
    chat.messages = [*long_ago, MORE]
    assert chat.encode() == chat.plain()


def test_a_turn_whose_base_is_gone_holds_all_of_its_ids(model):
    chat = Chat(model)
    chat.turn(HELLO)
    chat.messages.append(MORE)
    prompt = chat.encode()
    chat.splices._turns.clear()
    generated = bytewise(chat, "the cache")
    chat.answer(generated)
    chat.messages.append(HELLO)
    assert chat.encode()[: len(prompt) + len(generated)] == prompt + generated


def test_a_reply_that_is_too_long_to_keep(model):
    chat = Chat(model, max_ids=100)
    chat.turn(HELLO)
    assert not chat.splices._turns
    assert chat.splices._n_ids == 0


def test_a_model_has_one_store(model):
    assert splices_of(model) is splices_of(model)


def test_errors_of_the_template_are_the_callers(chat):
    chat.messages = [{"role": "user"}]
    with pytest.raises(InvalidRequest):
        chat.encode()


def test_sentencepiece(make_tiny_model):
    chat = Chat(load(make_tiny_model(architecture="gemma3")))
    chat.messages.append(HELLO)
    prompt = chat.encode()
    generated = bytewise(chat, "the closes")
    chat.answer(generated)
    chat.messages.append(MORE)
    ids = chat.encode()
    assert ids[: len(prompt) + len(generated)] == prompt + generated
    assert chat.tokenizer.decode(ids, special=True) == chat.tokenizer.decode(chat.plain(), special=True)


TEXTS = st.lists(
    st.sampled_from(["the", " user", "<|im_end|>", "<|im_start|>", "assistant\n", "é", "日", "\n", " ", "{", '"', "\\"])
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=4),
    max_size=6,
).map("".join)


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_random_conversations(hypothesis_chat, data):
    """Spliced ids show the text of the plain ones, and continue what was kept."""
    chat = hypothesis_chat
    chat.messages = []
    for _ in range(data.draw(st.integers(1, 4))):
        chat.messages.append({"role": data.draw(st.sampled_from(["user", "system"])), "content": data.draw(TEXTS)})
        prompt = chat.encode()
        text = data.draw(TEXTS)
        generated = bytewise(chat, text) if data.draw(st.booleans()) else chat.tokenizer.encode(text)
        chat.answer(generated)
        chat.messages.append({"role": "user", "content": data.draw(TEXTS)})
        ids = chat.encode()
        assert chat.tokenizer.decode(ids, special=True) == chat.tokenizer.decode(chat.plain(), special=True)
        if "<|im_end|>" not in text:
            continued = prompt + generated
            assert ids[: len(continued)] == continued or _was_kept_before(chat, ids, text)


def _was_kept_before(chat: Chat, ids: list[int], text: str) -> bool:
    """The same conversation had the same reply in another example, cut otherwise: the first one stays."""
    base = chat.encoded.base
    return base is not None and base.content == text and ids[: base.n_ids] == base.ids()


@pytest.fixture(scope="module")
def hypothesis_chat(model: Model) -> Iterator[Chat]:
    return Chat(model)
