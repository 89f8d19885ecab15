"""How sessions dress their texts."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from kvtape.chat.framing import Framing, common_prefix_len, rewrite
from kvtape.chat.template import template_of
from kvtape.engine import AsyncEngine
from kvtape.errors import InvalidRequest


@pytest.fixture
def engine(tiny_engine):
    return AsyncEngine.wrap(tiny_engine)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [([], [], 0), ([1], [], 0), ([1, 2], [1, 2], 2), ([1, 2, 3], [1, 2], 2), ([1, 2], [1, 3, 2], 1), ([2], [1], 0)],
)
def test_common_prefix(first, second, expected):
    assert common_prefix_len(first, second) == common_prefix_len(np.asarray(second, dtype=np.int32), first) == expected


class Template:
    """A chat template with a turn each way and a clock, or one that has no system turn."""

    def __init__(self, *, system: bool = True):
        self.system = system

    def render(self, messages, *, add_generation_prompt=True, now=None):
        if messages[0]["role"] == "system" and not self.system:
            raise InvalidRequest("system role is not supported")
        text = "".join(f"[{message['role']}|{message['content']}]" for message in messages)
        return f"{now}{text}" + ("[assistant|" if add_generation_prompt else "")


@pytest.fixture
def frame(engine, monkeypatch):
    monkeypatch.setattr("kvtape.chat.framing.template_of", lambda model: model.chat_template)

    def make(template, prompt, **options):
        model = SimpleNamespace(chat_template=template, tokenizer=engine.model.tokenizer)
        return Framing(model, prompt, now=7.0, **options)

    return make


def test_framing_renders_system_turn_and_question(engine, frame):
    framing = frame(Template(), "be brief")
    decode = engine.model.tokenizer.decode
    assert framing.templated
    assert framing.head == decode(framing.head_ids) == "7.0[system|be brief]"
    assert decode(framing.encode_question("why?")) == "[user|why?][assistant|"
    assert decode(framing.encode_text("raw")) == "raw"


@pytest.mark.parametrize(
    ("template", "prompt"), [(None, "be brief"), (Template(), ""), (Template(system=False), "be brief")]
)
def test_framing_is_raw_without_template_or_system_prompt(engine, frame, template, prompt):
    framing = frame(template, prompt)
    decode = engine.model.tokenizer.decode
    assert not framing.templated
    assert framing.head == decode(framing.head_ids) == prompt
    assert decode(framing.encode_question("why?")) == "why?"


@pytest.mark.parametrize(
    ("template", "prompt", "asked"),
    [
        (Template(), "", "[user|why?][assistant|"),
        (Template(system=False), "", "why?"),
        (Template(system=False), "be brief", "why?"),
        (None, "", "why?"),
    ],
)
def test_a_question_may_be_a_turn_behind_raw_text(engine, frame, template, prompt, asked):
    framing = frame(template, prompt, asks_in_turns=True)
    decode = engine.model.tokenizer.decode
    assert framing.asks_in_turns == (asked != "why?")
    assert not framing.templated
    assert framing.head == decode(framing.head_ids) == prompt
    assert decode(framing.encode_question("why?")) == asked


def test_raw_text_has_no_special_tokens_and_templates_do(engine, frame):
    special = engine.model.tokenizer.special_tokens["<|im_start|>"]
    assert special in frame(template_of(engine.model), "be brief").head_ids
    raw = frame(None, "<|im_start|>")
    assert special not in raw.head_ids
    assert special not in raw.encode_question("<|im_start|>")


def test_rewrite_keeps_the_common_prefix(tiny_engine):
    sequence = tiny_engine.open()
    for wanted in ([4, 5, 6], [4, 5, 6, 7], [4, 5, 9, 9, 9], [4], [4], [8, 8], [8, 8, 8]):
        rewrite(sequence, wanted)
        assert sequence.token_ids().tolist() == wanted
    sequence.close()
