"""The blocking engine: what a user of the package sees of it."""

from __future__ import annotations

import gc
import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import kvtape.engine.core as core_module
from kvtape import Engine, FinishReason, SamplingParams
from kvtape.engine.core import parse_memory
from kvtape.errors import Conflict, ContextOverflow, EngineFailed, InvalidRequest, NotFound
from kvtape.ops.sampling import log_softmax
from kvtape.types import TokenEvent

PROMPT = "the quick brown fox jumps over the lazy dog and runs away from it"


@pytest.fixture(scope="module")
def engine(tiny_model: Path) -> Iterator[Engine]:
    with Engine(tiny_model, kv_memory="8M", n_threads=2) as engine:
        yield engine
        engine.core.native.check_integrity()


def run(engine: Engine, prompt: str = PROMPT, **options: object) -> list[TokenEvent]:
    sequence = engine.open()
    sequence.append(prompt)
    return list(sequence.generate(**options))


def test_generates_what_the_model_says(engine: Engine) -> None:
    sequence = engine.open()
    n_prompt = sequence.append(PROMPT)
    events = list(sequence.generate(max_tokens=20, ignore_eos=True, logprobs=True, top_logprobs=3))
    ids = sequence.token_ids()
    assert [event.token_id for event in events] == ids[n_prompt:].tolist()
    logits = engine.model.forward_logits(ids[:-1])[n_prompt - 1 :]
    assert logits.argmax(-1).tolist() == [event.token_id for event in events]
    for event, row in zip(events, logits, strict=True):
        logprobs = log_softmax(row)
        assert event.logprob == logprobs[event.token_id]  # bit for bit
        best = sorted(range(len(row)), key=lambda i: (-row[i], i))[:3]
        assert [top.token_id for top in event.top_logprobs] == best
    first = np.sort(logits[0])
    assert events[0].logit_gap == first[-1] - first[-2]
    assert all(event.logit_gap is None for event in events[1:])


def test_last_event_says_why_and_how_much(engine: Engine) -> None:
    events = run(engine, max_tokens=5, ignore_eos=True)
    assert [event.finish_reason for event in events[:-1]] == [None] * 4
    last = events[-1]
    assert last.finish_reason is FinishReason.LENGTH
    assert last.usage is not None
    assert last.usage.prompt_tokens == len(engine.model.tokenizer.encode(PROMPT))
    assert last.usage.completion_tokens == 5


def test_cold_and_warm_give_the_same_bits(engine: Engine) -> None:
    def once(prompt: str) -> list[tuple[int, float | None]]:
        return [(e.token_id, e.logprob) for e in run(engine, prompt, max_tokens=12, ignore_eos=True, logprobs=True)]

    prompt = "warm " + PROMPT * 5
    cold = once(prompt)
    events = run(engine, prompt, max_tokens=12, ignore_eos=True, logprobs=True)
    assert [(e.token_id, e.logprob) for e in events] == cold
    assert events[-1].usage is not None
    assert events[-1].usage.cached_tokens >= 32


def test_seeds_repeat_and_differ(engine: Engine) -> None:
    def drawn(**options: object) -> list[int]:
        return [e.token_id for e in run(engine, temperature=1.5, max_tokens=24, ignore_eos=True, **options)]

    assert drawn(seed=1) == drawn(seed=1)
    assert drawn(seed=1) != drawn(seed=2)
    assert drawn(seed=1) != drawn(seed=1, choice=1)
    assert drawn() != drawn()  # no seed: a fresh one


def test_neighbours_do_not_change_a_generation(engine: Engine) -> None:
    alone = [e.logprob for e in run(engine, max_tokens=16, ignore_eos=True, logprobs=True)]
    sequences = [engine.open() for _ in range(12)]
    for i, sequence in enumerate(sequences):
        sequence.append(PROMPT if i == 5 else f"{i} another one {PROMPT * (i % 3)}")
    generations = [sequence.generate(max_tokens=16, ignore_eos=True, logprobs=True) for sequence in sequences]
    together = [[event.logprob for event in generation] for generation in generations]
    assert together[5] == alone


def test_stop_strings_and_text(engine: Engine) -> None:
    text = "".join(e.text for e in run(engine, max_tokens=60, ignore_eos=True))
    found = re.search("[a-zA-Z]{3}", text[5:])
    assert found is not None
    stop = found[0]
    events = run(engine, max_tokens=60, ignore_eos=True, stop=(stop,))
    assert "".join(e.text for e in events) == text[: text.index(stop)]
    assert events[-1].finish_reason is FinishReason.STOP


def test_logit_bias_forces_and_bans(engine: Engine) -> None:
    usual = run(engine, max_tokens=1)[0].token_id
    assert run(engine, max_tokens=1, logit_bias={usual: float("-inf")})[0].token_id != usual
    assert {e.token_id for e in run(engine, max_tokens=4, logit_bias={70: 1000.0})} == {70}
    with pytest.raises(EngineFailed, match="no token can be drawn"):
        run(engine, logit_bias=dict.fromkeys(range(engine.model.n_vocab), float("-inf")))


def test_eos_ends_unless_ignored(engine: Engine) -> None:
    eos = min(engine.model.tokenizer.eos_ids)
    events = run(engine, max_tokens=9, logit_bias={eos: 1000.0})
    assert [e.finish_reason for e in events] == [FinishReason.STOP]
    assert events[0].text == ""
    assert len(run(engine, max_tokens=9, logit_bias={eos: 1000.0}, ignore_eos=True)) == 9


def test_context_is_a_limit(engine: Engine) -> None:
    sequence = engine.open()
    sequence.append([5] * (engine.n_ctx - 3))
    with pytest.raises(ContextOverflow, match=str(engine.n_ctx)):
        sequence.append([5] * 4)
    assert sequence.n_tokens == engine.n_ctx - 3
    events = list(sequence.generate(ignore_eos=True))
    assert len(events) == 3
    assert events[-1].finish_reason is FinishReason.LENGTH
    with pytest.raises(ContextOverflow):
        sequence.generate()


def test_misuse_is_refused(engine: Engine) -> None:
    sequence = engine.open()
    with pytest.raises(InvalidRequest, match="no tokens"):
        sequence.generate()
    with pytest.raises(InvalidRequest, match="temperature"):
        sequence.generate(temperature=-1)
    for token in (-1, engine.model.n_vocab, 2**40):
        with pytest.raises(InvalidRequest, match=f"logit_bias has token {token} of a vocabulary") as caught:
            sequence.generate(logit_bias={token: 1.0})
        assert caught.value.param == "logit_bias"
    with pytest.raises(InvalidRequest, match="not both"):
        sequence.generate(SamplingParams(), temperature=1)
    for bad in ([engine.model.n_vocab], [-1], [2**40]):
        with pytest.raises(InvalidRequest):
            sequence.append(bad)
    sequence.append(PROMPT)
    generation = sequence.generate(ignore_eos=True)
    for verb in (lambda: sequence.append("x"), lambda: sequence.truncate(1), lambda: sequence.generate()):
        with pytest.raises(Conflict, match="generating"):
            verb()
    generation.close()
    with pytest.raises(InvalidRequest, match="truncate"):
        sequence.truncate(10**6)
    sequence.close()
    sequence.close()
    with pytest.raises(NotFound):
        sequence.append("x")


def test_dropping_a_generation_cancels_it(engine: Engine) -> None:
    sequence = engine.open()
    sequence.append(PROMPT)
    for event in sequence.generate(ignore_eos=True):
        assert event.finish_reason is None
        break
    gc.collect()
    assert engine.stats().running == 0
    n_tokens = sequence.n_tokens
    sequence.append("more")  # refused while something generates
    assert sequence.n_tokens > n_tokens


def test_the_collector_may_drop_a_generation_while_events_are_delivered(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The collector runs where it likes: on the engine thread too, inside the lock that cancelling wants."""
    convert = core_module._to_python

    def collect_and_convert(event: object) -> object:
        gc.collect()
        return convert(event)  # type: ignore[arg-type]

    forgotten = engine.open()
    forgotten.append(PROMPT)
    cycle: list[object] = [forgotten.generate(max_tokens=8, ignore_eos=True), forgotten]
    cycle.append(cycle)
    monkeypatch.setattr(core_module, "_to_python", collect_and_convert)
    del cycle, forgotten
    assert len(run(engine, max_tokens=4, ignore_eos=True)) == 4
    assert engine.stats().running == 0


def test_resident_means_all_but_the_last(engine: Engine) -> None:
    sequence = engine.open()
    sequence.append([7, 8, 9] * 50)
    sequence.resident()
    assert sequence.n_cached == 149
    sequence.truncate(20)
    sequence.resident()
    assert sequence.n_cached == 20


def test_more_sequences_than_memory_holds(tiny_model: Path) -> None:
    with Engine(tiny_model, n_ctx=128, kv_memory=8 * 2 * 2 * 3 * 16 * 32 * 2) as small:  # 8 blocks of 32 tokens
        prompts = [[10 + i] * 70 for i in range(6)]
        sequences = [small.open() for _ in prompts]
        for sequence, prompt in zip(sequences, prompts, strict=True):
            sequence.append(prompt)
        for sequence, prompt in zip(sequences, prompts, strict=True):
            sequence.resident()
            events = list(sequence.generate(max_tokens=4, ignore_eos=True, logprobs=True))
            ids = np.array(prompt + [e.token_id for e in events[:-1]], dtype=np.int32)
            rows = small.model.forward_logits(ids)[len(prompt) - 1 :]
            assert [e.logprob for e in events] == [
                log_softmax(row)[e.token_id] for e, row in zip(events, rows, strict=True)
            ]
        assert small.stats().sequences_dropped + small.stats().preemptions > 0
        small.core.native.check_integrity()


def test_closing_ends_what_runs(tiny_model: Path) -> None:
    engine = Engine(tiny_model, kv_memory="8M")
    sequence = engine.open()
    sequence.append(PROMPT)
    generation = sequence.generate(ignore_eos=True)
    next(generation)
    failures: list[BaseException] = []

    def read() -> None:
        try:
            for _ in generation:
                pass
        except EngineFailed as error:
            failures.append(error)

    reader = threading.Thread(target=read)
    engine.close()
    reader.start()
    reader.join()
    assert len(failures) <= 1  # it may have come to its end first
    with pytest.raises(EngineFailed):
        engine.open()
    engine.close()


def test_a_forked_process_gets_an_error(engine: Engine) -> None:
    read_end, write_end = os.pipe()
    process = os.fork()
    if process == 0:
        try:
            engine.open()
            os.write(write_end, b"no error")
        except EngineFailed as error:
            os.write(write_end, str(error).encode())
        finally:
            os._exit(0)
    os.waitpid(process, 0)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as said:
        assert b"forked" in said.read()


def test_forgotten_engine_stops_its_thread(tiny_model: Path) -> None:
    before = threading.active_count()
    engine = Engine(tiny_model, kv_memory="8M")
    assert threading.active_count() == before + 1
    del engine
    gc.collect()
    assert threading.active_count() == before


@pytest.mark.parametrize(
    ("arguments", "param"),
    [
        ({"n_ctx": 0}, "n_ctx"),
        ({"n_ctx": 513}, "n_ctx"),
        ({"n_ctx": 512, "kv_memory": "100k"}, "n_ctx"),
        ({"kv_memory": 10}, "kv_memory"),
        ({"kv_memory": "lots"}, "kv_memory"),
        ({"kv_type": "q4_0"}, "kv_type"),
        ({"n_threads": 0}, "n_threads"),
    ],
)
def test_arguments_are_checked(tiny_model: Path, arguments: dict[str, object], param: str) -> None:
    with pytest.raises(InvalidRequest, match=param) as caught:
        Engine(tiny_model, **arguments)
    assert caught.value.param == param


def test_isa_is_checked(tiny_model: Path) -> None:
    with pytest.raises(InvalidRequest, match="sse9"):
        Engine(tiny_model, kv_memory="8M", isa="sse9")


@pytest.mark.parametrize(
    ("text", "n_bytes"),
    [(123, 123), ("123", 123), ("1k", 1024), ("512MiB", 512 << 20), ("2 gb", 2 << 30), ("0.5G", 1 << 29)],
)
def test_parse_memory(text: int | str, n_bytes: int) -> None:
    assert parse_memory(text) == n_bytes
    assert 0 < parse_memory("auto") <= 4 << 30


@pytest.mark.parametrize("text", ["", "k", "-1", 0, "1x", True, "nan", "inf", "1e999"])
def test_parse_memory_refuses(text: int | str) -> None:
    with pytest.raises(InvalidRequest, match="kv_memory"):
        parse_memory(text)
