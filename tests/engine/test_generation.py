"""What a reply's text obeys: shown tokens, and reasoning that stop strings leave alone and a budget closes."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kvtape import AsyncEngine, Engine, FinishReason
from kvtape.errors import InvalidRequest
from kvtape.ops.sampling import log_softmax, sample
from kvtape.types import ReasoningSpan, SamplingParams, TokenEvent
from tests.reference.scripted_model import END, Script, write_scripted_model

SPAN = ReasoningSpan(open="<r>", close="</r>")
OPENED = ReasoningSpan(open="<r>", close="</r>", opened=True)

Write = Callable[..., tuple[Engine, list[Script]]]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """A function that makes an engine whose model knows some replies."""

    def make(*replies: list[bytes | str]) -> tuple[Engine, list[Script]]:
        scripts = write_scripted_model(tmp_path / "scripted.gguf", replies)
        return Engine(tmp_path / "scripted.gguf", kv_memory="8M", n_threads=1), scripts

    return make


def run(engine: Engine, script: Script, **options: object) -> list[TokenEvent]:
    sequence = engine.open()
    sequence.append([script.start])
    return list(sequence.generate(**options))


def ids(events: list[TokenEvent]) -> list[int]:
    return [event.token_id for event in events]


def text(events: list[TokenEvent]) -> str:
    return "".join(event.text for event in events)


def budgeted(budget: int, close_ids: tuple[int, ...], *, opened: bool = False) -> ReasoningSpan:
    return ReasoningSpan(open="<r>", close="</r>", opened=opened, budget=budget, close_ids=close_ids)


def reasoned(events: list[TokenEvent]) -> list[bool]:
    return [event.in_reasoning for event in events]


def cuts(reply: str) -> list[list[bytes | str]]:
    """Every way to cut a reply in two, and into bytes."""
    data = reply.encode()
    pieces = [[data], *([data[:i], data[i:]] for i in range(1, len(data))), [data[i : i + 1] for i in range(len(data))]]
    return [list[bytes | str](reply) for reply in pieces]


def test_shown_tokens_are_part_of_the_text(write: Write) -> None:
    engine, [script] = write([b"a", "[TOOL]", "[OTHER]", b"b"])
    with engine:
        assert text(run(engine, script)) == "ab"
        assert text(run(engine, script, shown_tokens=(script.ids[1],))) == "a[TOOL]b"
        events = run(engine, script, shown_tokens=(script.ids[1],), stop=("L]",))
        assert (text(events), events[-1].finish_reason) == ("a[TOO", FinishReason.STOP)
        events = run(engine, script, shown_tokens=(*script.ids[1:3], END))
        assert (text(events), events[-1].token_id) == ("a[TOOL][OTHER]b", END)
        assert text(run(engine, script, shown_tokens=(END,), ignore_eos=True, max_tokens=6)) == "ab<|end|><|end|>"
        for token_id in (script.ids[0], engine.model.n_vocab):
            with pytest.raises(InvalidRequest, match=f"shown_tokens has {token_id}, which is no control token"):
                run(engine, script, shown_tokens=(token_id,))


@pytest.mark.parametrize("opened", [False, True])
def test_stop_strings_end_the_answer_wherever_tokens_cut(write: Write, opened: bool) -> None:
    head, answer = ("" if opened else "\n<r>") + "é. so\n</r>\n\n", "yes é. no"
    engine, scripts = write(*cuts(head + answer))
    span = OPENED if opened else SPAN
    n_head = len(head.encode())
    with engine:
        for script in scripts:
            pieces = [engine.model.tokenizer.token_bytes()[token] for token in script.ids]
            for stop, shown in [(".", "yes é"), ("\n", answer), (">\n", answer), ("so\n</r>\n\ny", answer), ("y", "")]:
                events = run(engine, script, stop=(stop,), reasoning=span)
                assert text(events) == head + shown
                assert events[-1].finish_reason is FinishReason.STOP
                assert events[-1].stop_string == (None if shown == answer else stop)
                assert (events[-1].token_id == END) == (shown == answer)
            inside = text(run(engine, script, stop=("</",), reasoning=ReasoningSpan(
                open="<r>", close="</r>", opened=opened, stop_inside=True)))  # fmt: skip
            assert inside == head[: head.index("</")]
            assert text(run(engine, script, reasoning=span)) == head + answer
            begins = [sum(map(len, pieces[:i])) for i in range(len(pieces))]
            n_marked = n_head - 2  # the newlines behind the marker are not part of it
            known = 0 if opened else len("\n<r>") - 1  # before its last byte the marker may be none
            wanted = [
                begin < n_marked and begin + len(piece) > known for begin, piece in zip(begins, pieces, strict=True)
            ]
            assert reasoned(run(engine, script, reasoning=span)) == [*wanted, False]


def test_a_reply_that_does_not_reason_is_all_answer(write: Write) -> None:
    engine, scripts = write(
        [b" ", b"<", b"b", b"r", b">"], [b"\n", b"\n", b"<r"], [b"no <r>", b" a. b </r>"], [b"</r>"]
    )
    close = scripts.pop()
    with engine:
        assert [text(run(engine, script, reasoning=SPAN)) for script in scripts] == [
            " <br>",
            "\n\n<r",
            "no <r> a. b </r>",
        ]
        assert text(run(engine, scripts[2], reasoning=SPAN, stop=(".",))) == "no <r> a"
        assert text(run(engine, scripts[0], reasoning=SPAN, stop=("<b",))) == " "
        for options in ({}, {"max_tokens": 3}):  # a stop string is there as soon as it is known that it is one
            events = run(engine, scripts[1], reasoning=SPAN, stop=("\n\n",), **options)
            assert (text(events), events[-1].finish_reason) == ("", FinishReason.STOP)
            assert events[-1].stop_string == "\n\n"
        for script in scripts:
            assert not any(reasoned(run(engine, script, reasoning=SPAN)))
            events = run(engine, script, reasoning=budgeted(0, close.ids))
            assert ids(events) == [*script.ids, END]


def test_a_spent_budget_forces_the_closing_marker(write: Write) -> None:
    closing: list[bytes | str] = [b"\n", b"</", b"r>", b"\n\n", b"So", b" be it."]
    engine, [long, close] = write([b" ", b"<r>", *([b"hm. "] * 40)], closing)
    with engine:
        forced = close.ids[:4]
        for budget, n_free in [(2, 2), (3, 3), (17, 17), (0, 2), (1, 2)]:
            span = budgeted(budget, forced)
            events = run(engine, long, reasoning=span, stop=(".",))
            assert ids(events) == [*long.ids[:n_free], *close.ids]
            assert text(events) == " <r>" + "hm. " * (n_free - 2) + "\n</r>\n\nSo be it"
            assert reasoned(events) == [False, *[True] * (n_free - 1), *[True] * 3, False, False, False]
            assert events[-1].usage is not None
            assert events[-1].usage.completion_tokens == n_free + 6
            for max_tokens in range(1, n_free + 6):
                events = run(engine, long, reasoning=span, max_tokens=max_tokens)
                assert ids(events) == [*long.ids[:n_free], *close.ids][:max_tokens]
                assert events[-1].finish_reason is FinishReason.LENGTH
        span = budgeted(0, forced, opened=True)
        assert ids(run(engine, long, reasoning=span)) == [*close.ids, END]


def test_reasoning_that_ends_by_itself_is_left_alone(write: Write) -> None:
    engine, [reply, close] = write([b"<r>", b"a", b"b", b"</r>", b"c", b"d"], [b"</r>"])
    with engine:
        for budget in (4, 5, 100):
            span = budgeted(budget, close.ids)
            assert ids(run(engine, reply, reasoning=span)) == [*reply.ids, END]
        span = budgeted(3, close.ids)
        assert ids(run(engine, reply, reasoning=span)) == [*reply.ids[:3], *close.ids, END]


def test_bans_and_choices_do_not_stop_what_is_forced(write: Write) -> None:
    engine, [long, close] = write([b"a"] * 20, [b"</r>", b"b"])
    span = budgeted(3, close.ids[:1], opened=True)
    wanted = [*long.ids[:3], *close.ids]
    with engine:
        for options in (
            {"logit_bias": {close.ids[0]: -math.inf}},
            {"allowed_tokens": (*long.ids, close.ids[1])},
            {"allowed_tokens": (*long.ids, close.ids[1]), "logprobs": True},
            {"temperature": 1e-3, "repeat_penalty": 1.1, "seed": 3},
        ):
            events = run(engine, long, reasoning=span, max_tokens=5, **options)
            assert ids(events) == wanted
            assert all(math.isfinite(event.logprob) for event in events if event.logprob is not None)


def test_rows_that_are_forced_beside_others(write: Write) -> None:
    engine, [long, close] = write([b"a"] * 60, [b"</r>", b"b"])
    with engine:
        spans = [budgeted(budget, close.ids[:1], opened=True) for budget in (0, 3, 3, 9, 20)]
        options = [{"reasoning": span, "logprobs": i == 2} for i, span in enumerate(spans)] + [{}, {"max_tokens": 4}]
        alone = [[(e.token_id, e.logprob) for e in run(engine, long, **fields)] for fields in options]
        generations = []
        for fields in options:
            sequence = engine.open()
            sequence.append([long.start])
            generations.append(sequence.generate(**fields))
        assert [[(e.token_id, e.logprob) for e in generation] for generation in generations] == alone


def test_a_forced_token_is_weighed_by_the_model_and_draws_go_on(tiny_model: Path) -> None:
    with Engine(tiny_model, kv_memory="8M", n_threads=1) as engine:
        forced = tuple(engine.model.tokenizer.encode("\n</r>\n"))
        way = {"temperature": 1.5, "seed": 11, "repeat_penalty": 1.2, "ignore_eos": True}
        span = budgeted(3, forced, opened=True)

        def once(**options: object) -> tuple[list[TokenEvent], list[int]]:
            sequence = engine.open()
            sequence.append("the quick brown fox")
            events = list(sequence.generate(max_tokens=20, logprobs=True, top_logprobs=2, **way, **options))
            return events, sequence.token_ids().tolist()

        free, _ = once()
        events, tokens = once(reasoning=span)
        n_prompt = len(tokens) - 20
        assert ids(events)[:3] == ids(free)[:3]
        assert ids(events)[3 : 3 + len(forced)] == list(forced)
        rows = engine.model.forward_logits(np.array(tokens[:-1], dtype=np.int32))[n_prompt - 1 :]
        for i, (event, row) in enumerate(zip(events, rows, strict=True)):
            assert event.logprob == log_softmax(row)[event.token_id]
            assert [top.token_id for top in event.top_logprobs] == row.argsort(kind="stable")[::-1][:2].tolist()
            if not 3 <= i < 3 + len(forced):
                drawn = sample(row, SamplingParams(**way), recent=tokens[: n_prompt + i], draw=i)
                assert drawn is not None
                assert event.token_id == drawn.token_id


def test_what_cannot_close_is_refused(write: Write) -> None:
    engine, [reply] = write([b"a", b"</r", b">", "[/THINK]"])
    with engine:
        span = budgeted(1, reply.ids[1:2], opened=True)
        with pytest.raises(InvalidRequest, match="close_ids that spell '</r>', found '</r'"):
            run(engine, reply, reasoning=span)
        with pytest.raises(InvalidRequest, match="token id 99 is outside the vocabulary"):
            run(engine, reply, reasoning=ReasoningSpan(open="<r>", close="x", budget=1, close_ids=(99,)))
        control = ReasoningSpan(open="[T", close="[/THINK]", opened=True, budget=1, close_ids=reply.ids[3:])
        with pytest.raises(InvalidRequest, match=r"spell '\[/THINK\]', found ''"):
            run(engine, reply, reasoning=control)
        events = run(engine, reply, reasoning=control, shown_tokens=reply.ids[3:])
        assert (text(events), reasoned(events)) == ("a[/THINK]", [True, True, False])


def test_end_of_sequence_inside_the_reasoning_is_part_of_it(write: Write) -> None:
    engine, [reply] = write([b"<r>", b"a"])
    with engine:
        assert reasoned(run(engine, reply, reasoning=SPAN)) == [True, True, True]


async def test_async_too(write: Write) -> None:
    engine, [long, close] = write([b"a"] * 20, [b"</r>", b"b"])
    span = budgeted(3, close.ids[:1], opened=True)
    with engine:
        sequence = AsyncEngine.wrap(engine).open()
        sequence.append([long.start])
        events = [event async for event in sequence.generate(reasoning=span)]
        assert events == run(engine, long, reasoning=span)
