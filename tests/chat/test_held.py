"""What a request adds to a context that holds a part of its conversation, on tiny models."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvtape.chat.held import HeldPrompt, HeldTurn, HeldTurns, Opening
from kvtape.chat.splice import Splices
from kvtape.chat.template import ChatTemplate, template_of
from kvtape.errors import InvalidRequest
from kvtape.model.load import Model, load
from kvtape.types import ChatPrompt, FinishReason, ParsedReply, Thinking, Tool, ToolCall, ToolChoice, ToolMode

HELLO = {"role": "user", "content": "the system and the user"}
MORE = {"role": "user", "content": "and the closing"}
SYSTEM = {"role": "system", "content": "the system"}
TOOL = Tool("look_up", "Looks it up.")
ASK = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
EACH = "{% for message in messages %}<|im_start|>{{ message.role }}\n"
CALLS = (
    "{% for call in message.tool_calls %}\n<tool_call>\n"
    '{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments }}}\n</tool_call>{% endfor %}'
)
# Tools in the system turn, as Qwen's; reasoning is left out of what stands before the last question.
THINKS = (
    "{% set asked = namespace(at=-1) %}"
    "{% for message in messages %}{% if message.role == 'user' %}{% set asked.at = loop.index0 %}{% endif %}"
    "{% endfor %}"
    "{% if tools %}<|im_start|>system\n{{ messages[0].content if messages[0].role == 'system' }}"
    "{% for tool in tools %}\n{{ tool.name }}{% endfor %}<|im_end|>\n{% endif %}"
    "{% for message in messages %}{% if not (tools and loop.first and message.role == 'system') %}"
    "<|im_start|>{{ message.role }}\n"
    "{% if message.role == 'assistant' and loop.index0 > asked.at %}"
    "<think>\n{{ message.reasoning_content }}\n</think>\n\n{% endif %}"
    "{{ message.content }}" + CALLS + "<|im_end|>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% if enable_thinking is false %}<think>\n\n</think>\n\n"
    "{% endif %}{% endif %}"
)
# Tools before the last question, as Mistral's; the reply has no room of its own.
MOVES = (
    "{% for message in messages %}{% if message.role == 'assistant' %} {{ message.content }}" + CALLS + "<|im_end|>"
    "{% else %}{% if tools and loop.last %}[T]{% for tool in tools %}{{ tool.name }}{% endfor %}[/T]{% endif %}"
    "[I] {{ message.content }}[/I]{% endif %}{% endfor %}"
)


class Client:
    """A context and a client that resends its conversation; data may come between."""

    def __init__(self, model: Model, source: str | ChatTemplate | None = None, *, system: str | None = None) -> None:
        self.model, self.tokenizer = model, model.tokenizer
        template = template_of(model) if source is None else source
        if isinstance(template, str):
            template = ChatTemplate(template)
        assert template is not None
        self.template = template
        text = (
            "" if system is None else self.render(ChatPrompt(messages=[{"role": "system", "content": system}]), False)
        )
        self.opening = Opening(text, self.encode(text), system)
        self.items: list[HeldTurn | list[int]] = []
        self.messages: list[dict[str, Any]] = []
        self.kept: HeldPrompt | None = None

    def render(self, prompt: ChatPrompt, asks: bool) -> str:
        tools = () if prompt.tool_choice.mode is ToolMode.NONE else prompt.tools
        return self.template.render(
            prompt.messages,
            add_generation_prompt=asks,
            tools=[{"name": tool.name} for tool in tools] or None,
            enable_thinking=prompt.thinking.enabled,
        )

    def encode(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, parse_special=True)

    def plain(self, **fields: Any) -> str:
        """The whole conversation as a request without a context has it."""
        return self.render(self.whole(**fields), True)

    def whole(self, **fields: Any) -> ChatPrompt:
        messages = list(self.messages)
        if self.opening.system is not None and messages[0]["role"] != "system":
            messages.insert(0, {"role": "system", "content": self.opening.system})
        return ChatPrompt(messages=messages, **fields)

    @property
    def turns(self) -> list[HeldTurn]:
        return [item for item in self.items if isinstance(item, HeldTurn)]

    def push(self, text: str) -> None:
        self.items.append(self.tokenizer.encode(text))

    def ask(self, *messages: dict[str, Any], **fields: Any) -> list[int]:
        """Send the conversation with more messages; the ids that the reply follows."""
        self.messages += messages
        opening = Opening(
            self.opening.text,
            self.opening.token_ids,
            self.opening.system,
            alone=all(isinstance(item, HeldTurn) for item in self.items),
        )
        self.held = HeldTurns(self.model, opening, self.turns)
        self.prompt = self.held.encode(ChatPrompt(messages=list(self.messages), **fields), self.render)
        self.opening = self.prompt.opening
        left = self.turns[self.prompt.n_kept :]
        self.items = [item for item in self.items if item not in left]
        return self.ids() + self.prompt.token_ids

    def answer(
        self,
        ids: list[int],
        reply: ParsedReply | None = None,
        *,
        finish: FinishReason | None = FinishReason.STOP,
        end: bool = True,
    ) -> None:
        """Hold a reply, and put what a client sees of it to the messages."""
        reply = reply or ParsedReply(self.tokenizer.decode(ids))
        generated = [*ids, min(self.tokenizer.eos_ids)] if end else ids
        self.items.append(self.held.keep(self.prompt, reply, generated, finish))
        calls = [{"id": "x", "function": {"name": call.name, "arguments": call.arguments}} for call in reply.tool_calls]
        content = self.prompt.prompt.prefill + reply.content
        self.messages.append({"role": "assistant", "content": content, **({"tool_calls": calls} if calls else {})})

    def ids(self) -> list[int]:
        return [*self.opening.token_ids, *(i for item in self.items for i in _ids(item))]

    def text(self, ids: list[int] | None = None) -> str:
        return self.tokenizer.decode(self.ids() if ids is None else ids, special=True)

    def bytewise(self, text: str) -> list[int]:
        """Ids of a text as the tokenizer would never cut it."""
        ids = [i for character in text for i in self.tokenizer.encode(character)]
        assert self.tokenizer.decode(ids) == text
        return ids


def _ids(item: HeldTurn | list[int]) -> list[int]:
    return item.token_ids if isinstance(item, HeldTurn) else item


@pytest.fixture(scope="module")
def model(make_tiny_model: Callable[..., Path]) -> Model:
    return load(make_tiny_model())


@pytest.fixture
def client(model: Model) -> Client:
    return Client(model)


def test_a_turn_is_what_the_template_writes_and_what_was_generated(client):
    prompt = client.ask(HELLO)
    assert prompt == client.encode(client.plain())
    generated = client.bytewise("the user")
    client.answer(generated)
    assert client.ids() == prompt + generated + client.encode("<|im_end|>\n")


def test_only_what_is_new_is_added(client):
    client.ask(HELLO)
    client.answer(client.bytewise("the user"))
    held = client.ids()
    ids = client.ask(MORE)
    assert ids[: len(held)] == held
    assert client.text(client.prompt.token_ids) == (
        "<|im_start|>user\nand the closing<|im_end|>\n<|im_start|>assistant\n"
    )


def test_data_stands_where_it_came_in(client):
    client.push("first\n")
    client.ask(HELLO)
    client.answer(client.bytewise("the user"))
    client.push("second\n")
    ids = client.ask(MORE)
    assert client.text(ids) == (
        "first\n<|im_start|>user\nthe system and the user<|im_end|>\n<|im_start|>assistant\nthe user<|im_end|>\n"
        "second\n<|im_start|>user\nand the closing<|im_end|>\n<|im_start|>assistant\n"
    )


@pytest.mark.parametrize("repeats", [True, False])
def test_the_system_prompt_of_the_opening_counts_as_held(model, repeats):
    client = Client(model, system="the system")
    assert client.text() == "<|im_start|>system\nthe system<|im_end|>\n"
    client.push("data\n")
    ids = client.ask(*([SYSTEM] if repeats else []), HELLO)
    assert client.text(ids).count("<|im_start|>system") == 1
    assert client.text(client.prompt.token_ids).startswith("<|im_start|>user\nthe system and")
    client.answer(client.bytewise("the user"))
    client.ask(MORE)
    assert client.prompt.n_kept == 1


def test_another_system_prompt_is_a_message_of_the_conversation(model):
    client = Client(model, system="the system")
    ids = client.ask({"role": "system", "content": "other"}, HELLO)
    assert client.text(ids).startswith(
        "<|im_start|>system\nthe system<|im_end|>\n<|im_start|>system\nother<|im_end|>\n"
    )


def test_a_raw_opening_that_is_repeated_as_a_system_prompt_counts_as_held(model):
    client = Client(model)
    client.opening = Opening("the system", client.encode("the system"))
    ids = client.ask(SYSTEM, HELLO)
    assert client.text(ids).startswith("the system<|im_start|>user\n")


def test_turns_from_the_first_differing_message_on_are_left(client):
    for n in range(3):
        client.ask({"role": "user", "content": f"question {n}"})
        client.answer(client.bytewise(f"the user {n}"))
        client.push(f"data {n}\n")
    client.messages[2] = {"role": "user", "content": "another"}
    ids = client.ask(MORE)
    assert client.prompt.n_kept == 1
    text = client.text(ids)
    assert text.index("data 0") < text.index("data 1") < text.index("data 2") < text.index("another")
    assert "question 1" not in text
    assert text.index("data 2") < text.index("question 2")
    assert text.endswith("the user 2<|im_end|>\n<|im_start|>user\nand the closing<|im_end|>\n<|im_start|>assistant\n")


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (0, {"role": "system", "content": HELLO["content"]}),
        (0, {**HELLO, "content": "the system  and the user"}),
        (1, {"role": "assistant", "content": "the  user"}),
        (1, {"role": "assistant", "content": "the user", "reasoning_content": "a"}),
    ],
)
def test_a_message_that_differs_is_another(client, index, message):
    client.ask(HELLO)
    client.answer(client.bytewise("the user"))
    client.messages[index] = message
    assert client.ask(MORE) == client.encode(client.plain())
    assert client.prompt.n_kept == 0


def test_a_question_may_be_asked_again_and_a_conversation_go_on_by_itself(client):
    first = client.ask(HELLO)
    client.answer(client.bytewise("the user"))
    assert client.text(client.ask()).endswith("the user<|im_end|>\n<|im_start|>assistant\n")
    assert client.prompt.n_kept == 1
    del client.messages[1:]
    assert client.ask() == first


def test_a_reply_that_was_cut_off_goes_on_being_held(client):
    prompt = client.ask(HELLO)
    client.answer(client.bytewise("the us"), finish=FinishReason.LENGTH, end=False)
    assert client.ids() == prompt + client.bytewise("the us") + client.encode("<|im_end|>\n")


def test_a_reply_that_a_stop_string_ended_is_held_as_the_client_saw_it(client):
    client.ask(HELLO)
    client.answer(client.bytewise("the user, and so on"), ParsedReply("the user"), end=False)
    assert client.text().endswith("<|im_start|>assistant\nthe user<|im_end|>\n")
    plain = client.plain  # the ids are those of the text
    client.messages.append(MORE)
    assert client.ask() == client.encode(plain())


def test_a_prefill_is_a_part_of_the_reply(client):
    ids = client.ask(HELLO, prefill="the")
    client.answer(client.bytewise(" user"))
    assert client.messages[-1]["content"] == "the user"
    assert client.ids()[: len(ids)] == ids
    client.ask(MORE)
    assert client.prompt.n_kept == 1


def test_reasoning_stays_where_the_template_would_leave_it_out(model):
    client = Client(model, THINKS)
    prompt = client.ask(HELLO)
    generated = client.bytewise("<think>\nthe\n</think>\n\nuser")
    client.answer(generated, ParsedReply("user", "the"))
    held = prompt + generated + client.encode("<|im_end|>\n")
    assert client.ids() == held
    for reasoning in ({}, {"reasoning_content": "the"}):
        client.messages[1] = {"role": "assistant", "content": "user", **reasoning}
        ids = client.ask(*([MORE] if not reasoning else []))
        assert ids[: len(held)] == held
        assert client.text(ids[len(held) :]) == "<|im_start|>user\nand the closing<|im_end|>\n<|im_start|>assistant\n"
    client.messages[1] = {"role": "assistant", "content": "<think>\nthe\n</think>\n\nuser"}  # told in one piece
    client.ask()
    assert client.prompt.n_kept == 1
    client.messages[1] = {"role": "assistant", "content": "user", "reasoning_content": "other"}
    client.ask()
    assert client.prompt.n_kept == 0


def test_calls_and_their_results(model):
    client = Client(model, THINKS)
    prompt = client.ask(HELLO, tools=(TOOL,))
    generated = client.bytewise('<tool_call>{"name":"look_up","arguments":{"b":1, "a":[2]}}</tool_call>')
    client.answer(generated, ParsedReply("", None, [ToolCall("look_up", '{"b":1, "a":[2]}', True)]))
    client.messages[-1]["tool_calls"][0]["function"]["arguments"] = '{"a": [2], "b": 1}'
    client.messages[-1]["content"] = None
    ids = client.ask({"role": "tool", "content": "ok", "tool_call_id": "x"}, tools=(TOOL,))
    assert ids == prompt + generated + client.encode(
        "<|im_end|>\n<|im_start|>tool\nok<|im_end|>\n<|im_start|>assistant\n"
    )
    client.answer(client.bytewise("the user"))
    client.messages[-2]["tool_call_id"] = "y"
    client.ask(MORE, tools=(TOOL,))
    assert client.prompt.n_kept == 1


def test_a_reply_that_ended_with_its_first_call_is_written_whole(model):
    client = Client(model, THINKS)
    client.ask(HELLO, tools=(TOOL,))
    generated = client.bytewise('<tool_call>\n{"name": "look_up", "arguments": {}}')
    client.answer(generated, ParsedReply("", None, [ToolCall("look_up", "{}", True)]), finish=None, end=False)
    assert client.text().endswith(
        '<think>\n\n</think>\n\n<tool_call>\n{"name": "look_up", "arguments": {}}\n</tool_call><|im_end|>\n'
    )


def test_a_call_that_was_cut_off_is_held_as_it_was_written(model):
    client = Client(model, THINKS)
    prompt = client.ask(HELLO, tools=(TOOL,))
    generated = client.bytewise('<tool_call>\n{"name": "look_up", "arguments": {"a": "b')
    reply = ParsedReply("", None, [ToolCall("look_up", '{"a": "b', False)])
    client.answer(generated, reply, finish=FinishReason.LENGTH, end=False)
    assert client.ids() == prompt + generated + client.encode("<|im_end|>\n")


def test_tools_that_change_begin_a_new_conversation(model):
    client = Client(model, THINKS)
    client.ask(HELLO)
    client.answer(client.bytewise("the user"))
    client.ask(MORE, tools=(TOOL,))
    assert client.prompt.n_kept == 0
    assert client.text(client.prompt.token_ids) == client.plain(tools=(TOOL,))
    client.answer(client.bytewise("the user"))
    client.ask(tools=(TOOL,), tool_choice=ToolChoice(parallel=False))
    assert client.prompt.n_kept == 1
    client.ask(tools=(TOOL,), tool_choice=ToolChoice(ToolMode.NONE))
    assert client.prompt.n_kept == 0


def test_a_thinking_setting_that_changes_only_what_is_new_changes_nothing_else(model):
    client = Client(model, THINKS)
    client.ask(HELLO)
    client.answer(client.bytewise("the user"))
    ids = client.ask(MORE, thinking=Thinking(enabled=False))
    assert client.prompt.n_kept == 1
    assert client.text(ids).endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n")


def test_tools_go_into_the_opening_while_nothing_else_is_there(model):
    client = Client(model, THINKS, system="the system")
    ids = client.ask(HELLO, tools=(TOOL,))
    assert ids == client.encode(client.plain(tools=(TOOL,)))
    assert client.opening.text == "<|im_start|>system\nthe systemlook_up<|im_end|>\n"


def test_tools_come_behind_data_that_stands_behind_the_opening(model):
    client = Client(model, THINKS, system="the system")
    held = client.ids()
    client.push("data\n")
    ids = client.ask(HELLO, tools=(TOOL,))
    assert ids[: len(held)] == held
    assert client.text(ids) == client.text(held) + "data\n" + client.plain(tools=(TOOL,))
    client.answer(client.bytewise("the user"))
    client.ask(MORE, tools=(TOOL,))
    assert client.prompt.n_kept == 1


def test_tools_that_the_template_moves_stay_where_they_were(model):
    client = Client(model, MOVES)
    client.ask(HELLO, tools=(TOOL,))
    client.answer(client.bytewise(" the user"))
    ids = client.ask(MORE, tools=(TOOL,))
    assert client.text(ids) == (
        "[T]look_up[/T][I] the system and the user[/I] the user<|im_end|>[T]look_up[/T][I] and the closing[/I]"
    )


@pytest.mark.parametrize(
    "source",
    [
        EACH + "{{ message.content }}{% endfor %}" + ASK,  # no end token
        EACH + "{% if message.role != 'assistant' %}{{ message.content }}{% endif %}<|im_end|>{% endfor %}" + ASK,
    ],
    ids=["open", "hidden"],
)
def test_templates_that_do_not_show_where_a_reply_ends_get_what_they_write(model, source):
    client = Client(model, source)
    client.ask(HELLO)
    client.answer(client.bytewise("the user"))
    assert client.ask(MORE) == client.encode(client.plain())
    assert client.prompt.n_kept == 0


def test_a_template_may_insist_that_the_user_speaks_last(model):
    client = Client(
        model,
        "{% if messages[-1].role == 'assistant' %}{{ raise_exception('no') }}{% endif %}"
        + EACH
        + "{{ message.content }}<|im_end|>{% endfor %}"
        + ASK,
    )
    prompt = client.ask(HELLO)
    generated = client.bytewise("the user")
    client.answer(generated)
    assert client.ids() == prompt + generated
    ids = client.ask(MORE)
    assert ids[: len(prompt + generated)] == prompt + generated
    assert client.text(ids) == client.plain()


def test_errors_of_the_template_are_the_callers(client):
    with pytest.raises(InvalidRequest):
        client.ask({"role": "user"})


def test_sentencepiece_and_a_template_that_begins_with_bos(make_tiny_model):
    model = load(make_tiny_model(architecture="gemma3"))
    bos = [model.tokenizer.bos_id]
    client = Client(model)
    client.opening = Opening("", bos)
    prompt = client.ask(HELLO)
    assert prompt == client.encode(client.plain())
    client.answer(client.bytewise("the closes"))
    client.push("data\n")
    assert client.ask(MORE).count(bos[0]) == 1
    fresh = Client(model)
    fresh.opening = Opening("", bos)
    fresh.push("data\n")
    assert fresh.text(fresh.ask(HELLO)) == "<bos>data\n" + fresh.plain().removeprefix("<bos>")


TEXTS = st.lists(
    st.sampled_from(["the", " user", "<|im_end|>", "<|im_start|>", "assistant\n", "é", "日", "\n", " ", "{", '"', "\\"])
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=4),
    max_size=6,
).map("".join)
DATA = st.sampled_from(["", "", "12:30 o101.5 c102\n", "the\n"])


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_random_conversations(template, model, data):
    """The context is data and what the template writes, with the replies as they were generated.

    Without data it is, id for id, what a request without a context goes on from.
    """
    system = data.draw(st.sampled_from([None, "the system"]))
    client, splices, pushed = Client(model, template, system=system), Splices(model.tokenizer), []
    for n in range(data.draw(st.integers(1, 5))):
        if (text := data.draw(DATA)) and data.draw(st.booleans()):
            client.push(text)
            pushed.append(text)
        if client.messages and data.draw(st.integers(0, 3)) == 0:
            del client.messages[data.draw(st.integers(0, len(client.messages) - 1)) :]
        ids = client.ask({"role": "user", "content": f"{n} {data.draw(TEXTS)}"})
        encoded = splices.encode(client.whole(), client.render)
        if not pushed:
            assert ids == encoded.token_ids
        text = data.draw(TEXTS.filter(lambda text: "<|" not in text))
        reply = client.bytewise(text) if data.draw(st.booleans()) else client.tokenizer.encode(text)
        client.answer(reply)
        splices.keep(encoded, ParsedReply(text), [*reply, min(client.tokenizer.eos_ids)], FinishReason.STOP)
        shown = [*reply, *client.turns[-1].closing[1]]
        assert client.turns[-1].token_ids[-len(shown) :] == shown
        assert [client.text(item) for item in client.items if isinstance(item, list)] == pushed
        said = "".join(client.text(turn.token_ids) for turn in client.turns)
        assert client.opening.text + said == client.render(client.whole(), False)


@pytest.fixture(scope="module")
def template(model: Model) -> ChatTemplate:
    own = template_of(model)
    assert own is not None
    return own
