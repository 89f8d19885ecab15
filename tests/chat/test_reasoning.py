"""Reasoning told apart from the answer, cut anywhere."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvtape.chat.reasoning import (
    MAX_BLANKS,
    REASONING_MARKERS,
    ReasoningMarkers,
    ReasoningSplitter,
    choose_reasoning_markers,
)

THINK = REASONING_MARKERS[0]


def split(text: str, cuts: list[int] | None = None, *, opened: bool = False) -> tuple[str, str]:
    """Return reasoning and answer of a reply that comes in pieces."""
    splitter = ReasoningSplitter(THINK, opened=opened)
    ends = range(1, len(text) + 1) if cuts is None else [*sorted({cut for cut in cuts if cut < len(text)}), len(text)]
    start, reasoning, answer = 0, "", ""
    for end in ends:
        more_reasoning, more_answer = splitter.feed(text[start:end])
        reasoning, answer, start = reasoning + more_reasoning, answer + more_answer, end
    more_reasoning, more_answer = splitter.finish()
    return reasoning + more_reasoning, answer + more_answer


@pytest.mark.parametrize(
    ("text", "reasoning", "answer"),
    [
        ("<think>\nLet me see.\n</think>\n\nHello", "Let me see.", "Hello"),  # Qwen3, DeepSeek
        ("<think>\n\n</think>\n\nHello", "", "Hello"),  # Qwen3 that was told not to think
        ("\n <think>a</think>b", "a", "b"),
        ("<think>a\n\n b \n</think>\n  b", "a\n\n b ", "  b"),
        ("<think>a < b </thin </think>c</think>", "a < b </thin ", "c</think>"),
        ("<think>cut of", "cut of", ""),
        ("<think>cut of\n</thi", "cut of\n</thi", ""),
        ("Hello <think>a</think>", "", "Hello <think>a</think>"),
        ("  <thin", "", "  <thin"),
        ("<thinking>", "", "<thinking>"),
        (" \n", "", " \n"),
        (" " * MAX_BLANKS + "<think>a</think>b", "a", "b"),
        (" " * (MAX_BLANKS + 1) + "<think>a", "", " " * (MAX_BLANKS + 1) + "<think>a"),
        ("", "", ""),
    ],
)
def test_literal_replies(text, reasoning, answer):
    assert split(text) == split(text, []) == (reasoning, answer)


def test_a_prompt_may_have_opened_it():
    assert THINK.opened_by("<|Assistant|><think>\n")
    assert not THINK.opened_by("<think>\n\n</think>\n\n")
    assert split("\nwell\n</think>\n\nHello", opened=True) == ("well", "Hello")
    assert split("well", opened=True) == ("well", "")


@settings(deadline=None)
@given(
    st.lists(st.sampled_from(["<think>", "</think>", "\n", " ", "a", "<", "</", "think>", "é"]), max_size=12),
    st.lists(st.integers(0, 60)),
    st.booleans(),
)
def test_any_cuts_give_the_same(parts, cuts, opened):
    text = "".join(parts)
    whole = split(text, [], opened=opened)
    assert split(text, cuts, opened=opened) == split(text, opened=opened) == whole
    if not opened and not text.lstrip(" \n").startswith(THINK.open):
        assert whole == ("", text)


def test_cost_is_counted_up_to_the_closing_marker():
    splitter = ReasoningSplitter(THINK)
    for text in ["\n", "<th", "ink>", "a", "b", "</think>", "\n\n", "c"]:
        splitter.feed(text, 2)
    assert splitter.cost == 2 * 6
    splitter = ReasoningSplitter(THINK)
    splitter.feed("<", 1)
    splitter.feed("b", 1)
    assert splitter.cost == 0


def test_a_spent_budget_is_closed_by_the_caller():
    splitter = ReasoningSplitter(THINK, budget=3)
    assert not splitter.exhausted
    assert splitter.feed("<think>") == ("", "")
    assert splitter.feed("so") == ("so", "")
    assert not splitter.exhausted
    assert splitter.feed(" on\n</") == (" on", "")
    assert splitter.inside
    assert splitter.exhausted
    assert splitter.close() == "\n</"
    assert not splitter.exhausted
    assert splitter.feed("\n\nHello") == ("", "Hello")


def test_a_reply_that_does_not_reason_never_exhausts_the_budget():
    splitter = ReasoningSplitter(THINK, budget=0)
    splitter.feed("Hello")
    assert not splitter.exhausted


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{{ '<think>\n\n</think>\n\n' }}", THINK),
        ("{% if '</think>' in content %}", THINK),
        ("'[THINK]' + block['thinking'] + '[/THINK]'", ReasoningMarkers("[THINK]", "[/THINK]")),
        ("<|im_start|>", None),
    ],
)
def test_markers_are_chosen_by_the_template(template, expected):
    assert choose_reasoning_markers(template) == expected
