"""From a chat request to tokens, on a tiny model."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kvtape.chat.prompt import encode_chat, prepare_chat, render_chat
from kvtape.chat.template import ChatTemplate
from kvtape.engine import AsyncEngine
from kvtape.errors import InvalidRequest
from kvtape.model.load import load
from kvtape.types import (
    ChatPrompt,
    Constraint,
    ConstraintKind,
    FinishReason,
    SamplingParams,
    Thinking,
    Tool,
    ToolChoice,
    ToolMode,
    gather,
)

HELLO = [{"role": "user", "content": "the system and the user"}]


def chat(**options):
    return ChatPrompt(messages=HELLO, **options)


@pytest.fixture
def engine(tiny_engine):
    return AsyncEngine.wrap(tiny_engine)


def shown(engine, prompt):
    return engine.model.tokenizer.decode(encode_chat(engine.model, prompt), special=True)


def test_a_conversation_is_rendered_and_encoded_with_its_special_tokens(engine):
    assert shown(engine, chat()) == "<|im_start|>user\nthe system and the user<|im_end|>\n<|im_start|>assistant\n"
    assert engine.model.tokenizer.special_tokens["<|im_start|>"] in encode_chat(engine.model, chat())


def test_a_reply_that_has_begun_stays_open(engine):
    assert shown(engine, chat(prefill="the cache<|im_end|>")) == shown(engine, chat()) + "the cache<|im_end|>"


TOOLS = (Tool("look_up", "Finds it.", {"type": "object", "properties": {"what": {"type": "string"}}}),)


def test_a_template_that_knows_no_tools_gets_them_in_the_system_prompt(engine):
    text = shown(engine, chat(tools=TOOLS))
    assert text.startswith("<|im_start|>system\n")
    assert "look_up" in text
    assert "<tool_call>" in text
    assert shown(engine, chat(tools=TOOLS, tool_choice=ToolChoice(ToolMode.NONE))) == shown(engine, chat())


def test_a_template_that_knows_tools_writes_them_itself(engine, monkeypatch):
    source = "{% if tools %}{{ tools | tojson }}{% endif %}{% for m in messages %}{% if m.tool_calls %}{{ m.tool_calls[0].function.arguments.what }}{% endif %}{{ m.content }}{% endfor %}<tool_call>"  # noqa: E501
    template = ChatTemplate(source)
    monkeypatch.setattr("kvtape.chat.prompt.template_of", lambda model: template)
    call = {"id": "1", "type": "function", "function": {"name": "look_up", "arguments": '{"what": "moon"}'}}
    messages = [*HELLO, {"role": "assistant", "content": "", "tool_calls": [call]}]
    text = render_chat(engine.model, ChatPrompt(messages=messages, tools=TOOLS))
    assert text.startswith('[{"type": "function", "function": {"name": "look_up"')
    assert text.endswith("the system and the usermoon<tool_call>")


def test_a_model_without_a_template_says_so(engine, monkeypatch):
    monkeypatch.setattr("kvtape.chat.prompt.template_of", lambda model: None)
    with pytest.raises(InvalidRequest, match="has no chat template") as caught:
        encode_chat(engine.model, chat())
    assert caught.value.param == "messages"


def test_thinking_is_a_variable_of_the_template(engine, monkeypatch):
    template = ChatTemplate("{{ enable_thinking | lower }}{{ colour }}")
    monkeypatch.setattr("kvtape.chat.prompt.template_of", lambda model: template)
    prompt = chat(thinking=Thinking(enabled=False), template_options={"colour": "red"})
    assert render_chat(engine.model, prompt) == "falsered"


def test_the_parser_of_a_reply_knows_the_tools_that_may_be_called(engine):
    prompt = chat(tools=(*TOOLS, Tool("other")), tool_choice=ToolChoice(names=("other",)))
    prepared = prepare_chat(engine.model, prompt, SamplingParams())
    parser = prepared.make_parser()
    refused = '<tool_call>{"name": "look_up", "arguments": {}}</tool_call>'
    assert gather(parser.feed(refused) + parser.finish(FinishReason.STOP)[0]).content == refused
    parser = prepared.make_parser()
    assert (
        gather(parser.feed('<tool_call>{"name": "other", "arguments": {}}</tool_call>')).tool_calls[0].name == "other"
    )


DIGITS = Constraint(ConstraintKind.REGEX, "[0-9]{1,4}", "regex")


def test_an_answer_is_held_to_its_constraint(engine):
    assert prepare_chat(engine.model, chat(answer=DIGITS), SamplingParams()).params.constraint == DIGITS


@pytest.mark.parametrize("source", ["[0-9", "(?=a)b", "a" * (1 << 18)])
def test_a_constraint_that_cannot_be_kept_is_refused_by_the_name_of_its_field(engine, source):
    broken = Constraint(ConstraintKind.REGEX, source, "regex")
    with pytest.raises(InvalidRequest) as caught:
        prepare_chat(engine.model, chat(answer=broken), SamplingParams())
    assert caught.value.param == "regex"


def test_beside_calls_an_answer_can_be_held_to_a_schema_alone(engine):
    with pytest.raises(InvalidRequest) as caught:
        prepare_chat(engine.model, chat(answer=DIGITS, tools=TOOLS), SamplingParams())
    assert caught.value.param == "regex"
    nobody = chat(answer=DIGITS, tools=TOOLS, tool_choice=ToolChoice(ToolMode.NONE))
    assert prepare_chat(engine.model, nobody, SamplingParams()).params.constraint == DIGITS
    schema = Constraint(ConstraintKind.JSON_SCHEMA, '{"type": "integer"}')
    prepared = prepare_chat(engine.model, chat(answer=schema, tools=TOOLS), SamplingParams())
    assert prepared.params.constraint.kind is ConstraintKind.LARK


def test_a_reply_that_must_call_does_not_reason_first_unless_asked_to(make_tiny_model):
    source = "{{ enable_thinking }}{# <think> </think> <|im_start|> #}"
    model = replace(load(make_tiny_model()), template_source=source)
    must = chat(tools=TOOLS, tool_choice=ToolChoice(ToolMode.REQUIRED))
    prepared = prepare_chat(model, must, SamplingParams())
    assert prepared.params.constraint is not None
    assert prepared.params.reasoning.budget == 0
    assert prepared.token_ids == encode_chat(model, must)
    asked = prepare_chat(model, replace(must, thinking=Thinking(enabled=True)), SamplingParams())
    assert asked.params.reasoning.opened


@pytest.mark.parametrize(
    ("thinking", "answer", "opened"),
    [(True, DIGITS, True), (None, DIGITS, False), (False, DIGITS, False), (True, None, False)],
)
def test_reasoning_before_a_constrained_answer_is_begun_for_the_model(make_tiny_model, thinking, answer, opened):
    source = "{% for m in messages %}{{ m.content }}{% endfor %}{# <think> </think> #}"
    model = replace(load(make_tiny_model()), template_source=source)
    prepared = prepare_chat(model, chat(answer=answer, thinking=Thinking(thinking)), SamplingParams())
    text = model.tokenizer.decode(prepared.token_ids, special=True)
    assert text.endswith("<think>\n") == opened
    assert prepared.params.reasoning.opened == opened
    parser = prepared.make_parser()
    reply = gather(parser.feed("7</think>1" if opened else "1") + parser.finish(FinishReason.STOP)[0])
    assert (reply.reasoning, reply.content) == ("7" if opened else None, "1")


def test_what_calls_are_held_to_is_made_once_for_the_same_tools(engine, monkeypatch):
    held = ToolChoice(constrained=True)
    tools = (Tool("once", "", {"type": "object", "properties": {"what": {"type": "string"}}}),)
    first = prepare_chat(engine.model, chat(tools=tools, tool_choice=held), SamplingParams())
    assert first.params.constraint is not None
    assert prepare_chat(engine.model, chat(tools=tools), SamplingParams()).params.constraint is None
    monkeypatch.setattr("kvtape.chat.prompt.tool_grammar", lambda *_, **__: pytest.fail("made again"))
    again = prepare_chat(engine.model, chat(tools=tools, tool_choice=held), SamplingParams())
    assert again.params.constraint is first.params.constraint
