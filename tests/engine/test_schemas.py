"""What a guided model says validates, judged by another implementation of JSON Schema."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import jsonschema
import pytest

from kvtape import Engine, FinishReason
from kvtape.types import Constraint, ConstraintKind
from tests.engine.schemas import BY_HAND, EVERY

PROMPT = "the quick brown fox jumps over the lazy dog"


@pytest.fixture(scope="module")
def engine(make_tiny_model) -> Iterator[Engine]:
    with Engine(make_tiny_model(), kv_memory="16M", n_threads=2) as engine:
        yield engine


def multiple_of(validator: Any, factor: float, number: Any, schema: Any) -> Iterator[jsonschema.ValidationError]:
    """As written in decimals: 1.11 is a multiple of 0.01."""
    if validator.is_type(number, "number") and Fraction(repr(number)) % Fraction(repr(factor)):
        yield jsonschema.ValidationError(f"{number} is not a multiple of {factor}")


def judge(schema: dict[str, Any]) -> Any:
    draft = jsonschema.Draft202012Validator
    if "draft-07" in schema.get("$schema", ""):
        draft = jsonschema.Draft7Validator
    exact = jsonschema.validators.extend(draft, {"multipleOf": multiple_of})
    return exact(schema, format_checker=draft.FORMAT_CHECKER)


def sample(engine: Engine, schema: object, seed: int, max_tokens: int) -> tuple[FinishReason | None, str]:
    constraint = Constraint(ConstraintKind.JSON_SCHEMA, json.dumps(schema))
    sequence = engine.open()
    sequence.append(PROMPT)
    temperature = (1.0, 0.7, 1.5)[seed % 3]
    events = list(sequence.generate(temperature=temperature, seed=seed, max_tokens=max_tokens, constraint=constraint))
    return events[-1].finish_reason, "".join(event.text for event in events)


def check(engine: Engine, schemas: list[object], n_seeds: int, max_tokens: int) -> tuple[int, int]:
    """Return how many answers ended by themselves, and how many were cut off."""
    n_ended = n_cut = 0
    for schema in schemas:
        validator = judge(schema)
        for seed in range(n_seeds):
            finish, text = sample(engine, schema, seed, max_tokens)
            if finish is FinishReason.LENGTH:
                n_cut += 1
                continue
            n_ended += 1
            if schema.get("format", "").endswith("time"):
                text = text.replace(":60", ":59")  # a leap second at any time of the day
            try:
                validator.validate(json.loads(text))
            except (ValueError, jsonschema.ValidationError) as error:
                pytest.fail(f"{json.dumps(schema)}\nsays {text!r}: {error}")
    return n_ended, n_cut


def test_some_schemas(engine):
    schemas = random.Random(7).sample(BY_HAND, 20)
    n_ended, n_cut = check(engine, schemas, 2, 150)
    assert n_ended > 3 * n_cut


@pytest.mark.slow
def test_every_schema(engine):
    assert len(EVERY) >= 300
    n_ended, n_cut = check(engine, EVERY, 4, 180)
    print(f"{len(EVERY)} schemas, {n_ended} answers ended, {n_cut} were cut off")
    assert n_ended > 3 * n_cut
