"""Guided generations: what they say matches, whoever runs beside them and whenever their masks come."""

from __future__ import annotations

import asyncio
import json
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from kvtape import AsyncEngine, Engine, FinishReason
from kvtape.engine import constraints
from kvtape.engine.constraints import JSON_OBJECT, MAX_DEPTH, MAX_SOURCE_BYTES, Guide, check_constraint
from kvtape.errors import EngineFailed, InvalidRequest
from kvtape.types import Constraint, ConstraintKind, ReasoningSpan, SamplingParams, TokenEvent

PROMPT = "the quick brown fox jumps over the lazy dog"
PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 6}, "age": {"type": "integer", "minimum": 0, "maximum": 99}},
    "required": ["name", "age"],
    "additionalProperties": False,
}


def schema(value: object) -> Constraint:
    return Constraint(ConstraintKind.JSON_SCHEMA, json.dumps(value))


def regex(source: str) -> Constraint:
    return Constraint(ConstraintKind.REGEX, source)


def lark(source: str) -> Constraint:
    return Constraint(ConstraintKind.LARK, source)


def options(constraint: Constraint, seed: int = 1, **more: object) -> dict[str, object]:
    return {"temperature": 1.0, "seed": seed, "max_tokens": 120, "constraint": constraint} | more


def run(engine: Engine, **given: object) -> list[TokenEvent]:
    sequence = engine.open()
    sequence.append(PROMPT)
    return list(sequence.generate(**given))


def text(events: list[TokenEvent]) -> str:
    return "".join(event.text for event in events)


def ids(events: list[TokenEvent]) -> list[int]:
    return [event.token_id for event in events]


@pytest.fixture(scope="module")
def engine(tiny_model: Path) -> Iterator[Engine]:
    with Engine(tiny_model, kv_memory="8M", n_threads=2) as engine:
        yield engine
        engine.core.native.check_integrity()


@pytest.mark.parametrize("seed", range(4))
def test_a_schema(engine, seed):
    events = run(engine, **options(schema(PERSON), seed))
    assert events[-1].finish_reason is FinishReason.STOP
    person = json.loads(text(events))
    assert list(person) == ["name", "age"]
    assert len(person["name"]) <= 6
    assert 0 <= person["age"] <= 99


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("source", ["(yes|no)!?", r"[a-f]{3}-\d{2,4}", "é+ü?"])
def test_a_regex(engine, source, seed):
    events = run(engine, **options(regex(source), seed, max_tokens=40))
    if events[-1].finish_reason is FinishReason.STOP:
        assert re.fullmatch(source, text(events))


def test_a_grammar(engine):
    events = run(engine, **options(lark('start: "<" ("a" | "b"){2} ">"')))
    assert text(events) in {"<aa>", "<ab>", "<ba>", "<bb>"}
    assert events[-1].finish_reason is FinishReason.STOP


def test_any_object(engine):
    events = run(engine, **options(JSON_OBJECT, max_tokens=400))
    if events[-1].finish_reason is FinishReason.STOP:
        assert isinstance(json.loads(text(events)), dict)
    assert text(events).startswith("{")


def test_the_end_is_the_only_token_left(engine):
    events = run(engine, **options(regex("ab")))
    assert text(events) == "ab"
    assert events[-1].token_id in engine.model.tokenizer.eos_ids
    assert events[-1].finish_reason is FinishReason.STOP
    biased = dict.fromkeys(engine.model.tokenizer.eos_ids, float("-inf"))
    with pytest.raises(EngineFailed, match="no token can be drawn"):
        run(engine, **options(regex("ab"), logit_bias=biased))


def test_a_sentencepiece_vocabulary(make_tiny_model):
    with Engine(make_tiny_model(architecture="gemma3"), kv_memory="8M", n_threads=2) as engine:
        for seed in range(3):
            assert list(json.loads(text(run(engine, **options(schema(PERSON), seed))))) == ["name", "age"]


def test_with_everything_else(engine):
    events = run(engine, **options(schema(PERSON), logprobs=True, top_logprobs=2, top_p=0.9, repeat_penalty=1.2))
    assert all(event.logprob <= 0 and len(event.top_logprobs) == 2 for event in events)
    assert json.loads(text(events))
    assert text(run(engine, **options(schema(PERSON), stop=("age",)))).endswith('"')
    assert run(engine, **options(schema(PERSON), max_tokens=3))[-1].finish_reason is FinishReason.LENGTH


def test_same_alone_and_in_a_batch(engine):
    alone = [ids(run(engine, **options(schema(PERSON), seed))) for seed in range(8)]
    plain = ids(run(engine, temperature=1.0, seed=3, max_tokens=30))
    sequences = [engine.open() for _ in range(9)]
    for sequence in sequences:
        sequence.append(PROMPT)
    generations = [sequence.generate(**options(schema(PERSON), seed)) for seed, sequence in enumerate(sequences[:8])]
    other = sequences[8].generate(temperature=1.0, seed=3, max_tokens=30)
    assert [ids(list(generation)) for generation in generations] == alone
    assert ids(list(other)) == plain


def test_forks_are_guided_apart(engine):
    sequence = engine.open()
    sequence.append(PROMPT)
    forks = [sequence.fork() for _ in range(6)]
    generations = [fork.generate(**options(schema(PERSON), 5, choice=i)) for i, fork in enumerate(forks)]
    texts = [text(list(generation)) for generation in generations]
    assert all(json.loads(found) for found in texts)
    assert len(set(texts)) > 1
    assert texts[2] == text(run(engine, **options(schema(PERSON), 5, choice=2)))


def test_late_masks_change_nothing(engine, monkeypatch):
    on_time = ids(run(engine, **options(schema(PERSON))))
    n_late = engine.stats().late_masks
    mask = Guide.mask

    def slow(self):
        time.sleep(0.02)
        return mask(self)

    monkeypatch.setattr(Guide, "mask", slow)
    sequence = engine.open()
    sequence.append(PROMPT)
    other = sequence.generate(max_tokens=50, temperature=1.0, seed=9, ignore_eos=True)
    assert ids(run(engine, **options(schema(PERSON)))) == on_time
    assert engine.stats().late_masks >= n_late + len(on_time) - 2
    assert len(list(other)) == 50


def test_a_guide_that_gives_up_ends_its_generation_alone(engine, monkeypatch):
    consume = Guide.consume

    def give_up(self, token):
        if threading.current_thread().name == "kvtape-guide":
            raise EngineFailed("generation: its constraint gave up: enough")
        consume(self, token)

    sequence = engine.open()
    sequence.append(PROMPT)
    other = sequence.generate(max_tokens=20, temperature=1.0, seed=9, ignore_eos=True)
    monkeypatch.setattr(Guide, "consume", give_up)
    with pytest.raises(EngineFailed, match="gave up: enough"):
        run(engine, **options(schema(PERSON)))
    assert len(list(other)) == 20
    assert engine.stats().running == 0


def test_a_panic_ends_its_generation_alone(engine, monkeypatch):
    class Panic(BaseException):
        """As the library's own, which is no Exception."""

    consume = Guide.consume
    monkeypatch.setattr(Guide, "consume", lambda self, token: (_ for _ in ()).throw(Panic("at the disco")))
    with pytest.raises(EngineFailed, match="gave up: at the disco"):
        run(engine, **options(schema(PERSON)))
    monkeypatch.setattr(Guide, "consume", consume)
    assert json.loads(text(run(engine, **options(schema(PERSON)))))


def test_slow_masks_go_on_without_the_gil(engine, monkeypatch):
    fast = ids(run(engine, **options(schema(PERSON))))
    monkeypatch.setattr(constraints, "_SLOW_SECONDS", -1.0)
    assert ids(run(engine, **options(schema(PERSON)))) == fast


def test_cancelled_midway(engine):
    for n_read in range(6):
        sequence = engine.open()
        sequence.append(PROMPT)
        generation = sequence.generate(**options(schema(PERSON)))
        for _ in range(n_read):
            next(generation)
        generation.close()
        sequence.close()
    assert engine.stats().running == 0
    assert json.loads(text(run(engine, **options(schema(PERSON)))))


def test_closed_while_guiding(tiny_model):
    before = set(threading.enumerate())
    engine = Engine(tiny_model, kv_memory="8M", n_threads=2)
    sequence = engine.open()
    sequence.append(PROMPT)
    generation = sequence.generate(**options(regex("a{400}"), max_tokens=400))
    next(generation)
    engine.close()
    with pytest.raises(EngineFailed):
        list(generation)
    assert set(threading.enumerate()) <= before


async def test_for_an_event_loop(tiny_model, engine):
    alone = ids(run(engine, **options(schema(PERSON))))
    async with AsyncEngine(tiny_model, kv_memory="8M", n_threads=2) as other:

        async def generate(constraint: Constraint) -> list[TokenEvent]:
            sequence = other.open()
            sequence.append(PROMPT)
            return [event async for event in sequence.generate(**options(constraint))]

        found = await asyncio.gather(generate(schema(PERSON)), generate(schema(PERSON)), generate(regex("ab")))
        assert [ids(events) for events in found[:2]] == [alone, alone]
        assert text(found[2]) == "ab"
        with pytest.raises(InvalidRequest, match="cannot be enforced") as caught:
            await generate(schema({"uniqueItems": True}))
        assert caught.value.param == "constraint"
        assert other.stats().running == 0


def test_reasoning_is_not_guided(engine):
    encode = engine.model.tokenizer.encode
    (opening_id,) = encode("<|im_start|>", parse_special=True)
    span = ReasoningSpan(open="<|im_start|>", close="</r>", budget=9, close_ids=tuple(encode("</r>\n")))
    reasons = options(schema(PERSON), reasoning=span, shown_tokens=(opening_id,))
    opened = run(engine, **(reasons | {"reasoning": replace(span, opened=True)}))
    chosen = run(engine, **reasons, logit_bias={opening_id: 100.0})
    plain = run(engine, **reasons, logit_bias={opening_id: -100.0})
    assert chosen[0].token_id == opening_id
    for events in (opened, chosen):
        answer = "".join(event.text for event in events if not event.in_reasoning)
        assert answer.startswith("\n{")
        assert json.loads(answer)
        assert sum(event.in_reasoning for event in events) >= 9
    assert not any(event.in_reasoning for event in plain)
    assert json.loads(text(plain))
    hidden = run(engine, **(reasons | {"shown_tokens": ()}), logit_bias={opening_id: 100.0})  # it would open nothing
    assert json.loads(text(hidden))


def test_what_cannot_be_combined():
    for other in ({"ignore_eos": True}, {"allowed_tokens": (1, 2)}):
        with pytest.raises(InvalidRequest) as caught:
            SamplingParams(constraint=JSON_OBJECT, **other)
        assert caught.value.param == next(iter(other))


@pytest.mark.parametrize(
    ("constraint", "says"),
    [
        (Constraint(ConstraintKind.JSON_SCHEMA, "{"), "is not JSON"),
        (Constraint(ConstraintKind.JSON_SCHEMA, '{"minimum": NaN}'), "NaN is no JSON number"),
        (Constraint(ConstraintKind.JSON_SCHEMA, '{"type": "string", "type": "number"}'), "key 'type' twice"),
        (Constraint(ConstraintKind.JSON_SCHEMA, '{"const": 1e999}'), "beyond float64"),
        (schema({"minimum": 10**30}), "beyond 64 bits"),
        (schema({"minimum": 2**60}), "beyond 2^53"),
        (schema("a string"), "must be an object or true"),
        (schema({"const": "\ud800"}), "surrogates"),
        (schema({"x-guidance": {"lenient": True}}), "unknown keyword 'x-guidance'"),
        (schema({"$ref": "https://example.com/schema"}), "cannot be enforced"),
        (schema({"if": {}, "then": {}}), "if"),
        (regex("a" * MAX_SOURCE_BYTES + "b"), f"has {MAX_SOURCE_BYTES + 1} bytes"),
        (regex("(" * 65 + ")" * 65), f"deeper than {MAX_DEPTH} levels"),
        (regex("(?=a)a"), "look-around"),
        (regex("\ud800"), "lone surrogates"),
        (lark("start: ("), "cannot be enforced"),
        (lark(""), "cannot be enforced"),
    ],
)
def test_refused(engine, constraint, says):
    with pytest.raises(InvalidRequest, match=re.escape(says)) as caught:
        check_constraint(engine.model, constraint)
    assert caught.value.param == "constraint"
