"""Reasoning told apart from the answer, cut anywhere."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kvtape import Engine
from kvtape._native import _core
from kvtape.chat.json_scanner import BLANK
from kvtape.chat.reasoning import (
    MAX_BLANKS,
    REASONING_MARKERS,
    ReasoningMarkers,
    ReasoningSplitter,
    choose_reasoning_markers,
    reasoning_span,
)
from kvtape.model.tokenizer import Tokenizer
from kvtape.types import ReasoningSpan, Thinking
from tests.reference.scripted_model import write_scripted_model
from tests.reference.tiny_vocab import byte_alphabet

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


PIECES = [
    b"<think>",
    b"</think>",
    b"<th",
    b"ink>",
    b"</",
    b"think>",
    b"\n",
    b"\r\n",
    b" ",
    b"a",
    b"\xe2",
    b"\x82\xac",
    b"\xff",
    b"x</think>y",
]


@settings(max_examples=500, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=12), st.lists(st.integers(0, 90)), st.booleans())
@example([b" " * MAX_BLANKS, b"<think>", b"a"], [], False)
@example([b" " * MAX_BLANKS, b" <think>", b"a"], [], False)
def test_the_engine_has_the_same_rules(parts, cuts, opened):
    """Tokens of any bytes through the native reader, and their text, as an engine tells it, through the splitter."""
    data = b"".join(parts)
    ends = [*sorted({cut for cut in cuts if cut < len(data)}), len(data)]
    tokens = [data[start:end] for start, end in itertools.pairwise([0, *ends])]
    span = _core.ReasoningSpan(
        open=THINK.open, close=THINK.close, opened=opened, budget=None, close_ids=[], stop_inside=False
    )
    reader, splitter = _core.ReasoningReader(span), ReasoningSplitter(THINK, opened=opened)
    assembler = _core.TextAssembler(_core.TokenBytes(tokens), _core.TextRules(stop=["!"], shown=[], reasoning=span))
    native, python = [b"", b""], ["", ""]
    for token, piece in enumerate(tokens):
        for target, more in ((native, reader.read(piece)), (python, splitter.feed(assembler.push(token)[0]))):
            target[0] += more[0]
            target[1] += more[1]
        assert reader.inside == splitter.inside
    native[1] += reader.finish()
    for more in (splitter.feed(assembler.finish()[0]), splitter.finish()):
        python = [python[0] + more[0], python[1] + more[1]]
    assert native[0] + native[1] == data
    assert python[1] == native[1].decode("utf-8", "replace")

    reasoning = native[0].decode("utf-8", "replace")
    reasoning = (reasoning if opened else reasoning.lstrip(BLANK).removeprefix(THINK.open)).removeprefix("\n")
    if not reader.inside:
        reasoning = reasoning.rstrip("\r\n").removesuffix(THINK.close).removesuffix("\n")
    assert python[0] == reasoning


def scripted(path: Path) -> tuple[Engine, dict[str, tuple[int, ...]]]:
    """An engine whose model thinks for ever, if nobody closes that; and its tokens by their text."""
    thought: list[bytes | str] = [b"<think>", b"\n", *(f"{i} \u20ac. ".encode() for i in range(40))]
    scripts = write_scripted_model(path, [thought, [b"\n", b"</th", b"ink>", b"\n\n", b"An", b" answer."]])
    return Engine(path, kv_memory="8M", n_threads=1), {"start": (scripts[0].start,), "close": scripts[1].ids[:4]}


@pytest.mark.parametrize("budget", [0, 1, 2, 3, 20])
@pytest.mark.parametrize("opened", [False, True])
def test_a_forced_end_splits_as_one_that_came_by_itself(tmp_path, budget, opened):
    engine, known = scripted(tmp_path / "scripted.gguf")
    with engine:
        sequence = engine.open()
        sequence.append(known["start"])
        span = ReasoningSpan(open=THINK.open, close=THINK.close, opened=opened, budget=budget, close_ids=known["close"])
        splitter = ReasoningSplitter(THINK, opened=opened)
        pieces, insides = [], [opened]
        for event in sequence.generate(reasoning=span, stop=(".",), max_tokens=60):
            pieces.append(splitter.feed(event.text))
            insides.append(splitter.inside)
            assert event.in_reasoning == (insides[-1] or insides[-2])
        pieces.append(splitter.finish())
        reasoning, answer = ("".join(part) for part in zip(*pieces, strict=True))
        n_thoughts = max(0, budget - 2)
        thoughts = "".join(f"{i} \u20ac. " for i in range(n_thoughts))
        head = "<think>\n"[: 0 if budget == 0 else 7 if budget == 1 else 8] if opened else ""
        assert (reasoning, answer) == (head + thoughts, "An answer")


class Vocabulary:
    """As much of a model as spans need."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer


def tokenizer_of(controls: list[str]) -> Tokenizer:
    tokens = [*controls, *byte_alphabet().values()]
    return Tokenizer(tokens, [3] * len(controls) + [1] * 256)


def test_a_span_for_a_prompt():
    tokenizer = tokenizer_of(["</think>"])
    model = Vocabulary(tokenizer)
    span = reasoning_span(model, THINK, "<|im_start|>assistant\n", Thinking(budget=7))
    assert span == ReasoningSpan(
        open="<think>", close="</think>", budget=7, close_ids=tuple(tokenizer.encode(THINK.closing, parse_special=True))
    )
    assert span.close_ids[1] == 0
    assert tokenizer.decode(span.close_ids, special=True) == "\n</think>\n\n"
    assert reasoning_span(model, THINK, "<think>\n", Thinking()) == replace(span, opened=True, budget=None)
    assert reasoning_span(model, THINK, "", Thinking(enabled=False, budget=9)) == replace(span, budget=0)
    assert reasoning_span(model, None, "<think>", Thinking(budget=7)) is None
    mistral = reasoning_span(Vocabulary(tokenizer_of(["[/THINK]"])), REASONING_MARKERS[1], "", Thinking())
    assert mistral is not None
    assert mistral.close_ids == (0,)


def test_sentencepiece_closes_without_the_spaces_it_adds():
    pieces = ["\u2581", "\n", *"</think>"]
    tokens = ["<unk>", *dict.fromkeys(pieces)]
    tokenizer = Tokenizer(tokens, [2] + [1] * (len(tokens) - 1), scores=[0.0] * len(tokens))
    span = reasoning_span(Vocabulary(tokenizer), THINK, "", Thinking())
    assert span is not None
    assert tokenizer.decode(tokenizer.encode(THINK.closing)) == " \n</think>\n\n"
    assert tokenizer.decode(span.close_ids) == "\n</think>\n\n"


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{{ '<think>\n\n</think>\n\n' }}", THINK),
        ("{% if '</think>' in content %}", THINK),
        ("'[THINK]' + block['thinking'] + '[/THINK]'", ReasoningMarkers("[THINK]", "[/THINK]", "[/THINK]")),
        ("<|im_start|>", None),
    ],
)
def test_markers_are_chosen_by_the_template(template, expected):
    assert choose_reasoning_markers(template) == expected
