"""The parser of a model, by its chat template."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from kvtape.chat.reasoning import REASONING_MARKERS
from kvtape.chat.tool_parsers import TOOL_PARSERS, choose_tool_parser, make_tool_parser, shown_tokens
from kvtape.errors import InvalidRequest
from kvtape.model.tokenizer import Tokenizer

# What tells the templates of these models apart.
TEMPLATES = [
    (
        "{% if tools %}<|im_start|>system\nYou are Qwen, created by Alibaba Cloud.<tools></tools><tool_call>",
        "qwen_coder",
    ),
    ("{% if tools %}<|im_start|>system\n<tools></tools><tool_call> {{ '<think>' }}</think>", "hermes"),  # Qwen3
    ("{% if tools %}You are a function calling AI model. <tool_call>", "hermes"),
    ("{% if tools %}<tool_call>\n<function=example_function_name>\n<parameter=x>", None),  # Qwen3-Coder
    ("{% if tools %}<tool_call>{function-name}<arg_key>", None),  # GLM
    ("<|start_header_id|>{{ tools }} {%- set builtin_tools %}<|python_tag|>", "llama"),
    ("<|start_header_id|>{{ tools_in_user_message }} '\"parameters\": '", "llama"),  # 3.2
    ("{{ tools }}[TOOL_CALLS][", "mistral"),
    ("{{ tools }}[TOOL_CALLS]name[ARGS]", "mistral"),
    ("{{ tools }}<|tool_call|>", None),
    ("<|im_start|>{{ message.role }}", "hermes"),  # SmolLM2
    ("<start_of_turn>", "json"),
    ("", "json"),
]


@pytest.mark.parametrize(("template", "expected"), TEMPLATES)
def test_by_template(template, expected):
    assert choose_tool_parser(template) == expected
    assert expected is None or expected in TOOL_PARSERS


def test_by_name():
    for name, kind in TOOL_PARSERS.items():
        assert type(make_tool_parser(name, ["f"])) is kind
    with pytest.raises(InvalidRequest, match=r"'hermse'.* hermes, qwen_coder, llama, mistral, json"):
        make_tool_parser("hermse")


def test_markers_that_are_control_tokens_are_shown():
    control, user_defined = 3, 4
    texts = [
        "</s>",
        "[TOOL_CALLS]",
        "[ARGS]",
        "[INST]",
        "[THINK]",
        "[/THINK]",
        "<|python_tag|>",
        "<tool_call>",
        "</think>",
    ]
    tokenizer = Tokenizer(texts, [control] * 7 + [user_defined, control])
    model = SimpleNamespace(tokenizer=tokenizer)
    think, mistral_think, _ = REASONING_MARKERS
    assert shown_tokens(model, "mistral", mistral_think) == (1, 2, 4, 5)
    assert shown_tokens(model, "mistral", None) == (1, 2)
    assert shown_tokens(model, "llama", None) == (6,)
    assert shown_tokens(model, "hermes", think) == (8,)  # <tool_call> has its text anyway
    assert shown_tokens(model, None, None) == ()
