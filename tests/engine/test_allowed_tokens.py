"""Answers that are a choice: the logits of the choices alone give what computing all and banning the rest gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from kvtape import AsyncEngine, Engine, FinishReason
from kvtape.errors import InvalidRequest
from kvtape.ops.sampling import log_softmax
from kvtape.types import TokenEvent

PROMPT = "the quick brown fox jumps over the lazy dog and runs away from it"
HEADS = {
    "q8_0": {},
    "q4_1": {"weights": "q4_1"},
    "f16": {"weights": "f16"},
    "q6_k": {
        "weights": "q4_k",
        "embedding": "q6_k",
        "dim": 256,
        "ffn_dim": 256,
        "n_heads": 4,
        "head_dim": 64,
        "n_kv_heads": 1,
    },
    "untied q4_1": {"tied": False, "embedding": "q4_1"},
    "untied f32": {"tied": False, "embedding": "f32"},
    "soft-capped": {"architecture": "gemma3", "logit_softcap": 4.0},
}
WAYS = [
    {},
    {"temperature": 1.3, "seed": 7},
    {"temperature": 0.9, "seed": 8, "top_p": 0.8, "repeat_penalty": 1.5},
    {"temperature": 1.0, "seed": 9, "top_k": 2, "logit_bias": {70: 2.0}, "frequency_penalty": 0.5},
]


def run(engine: Engine, **options: object) -> list[TokenEvent]:
    sequence = engine.open()
    sequence.append(PROMPT)
    return list(sequence.generate(**({"max_tokens": 8, "ignore_eos": True} | options)))


def tokens(events: list[TokenEvent]) -> list[int]:
    return [event.token_id for event in events]


@pytest.fixture(scope="module")
def engine(tiny_model: Path) -> Iterator[Engine]:
    with Engine(tiny_model, kv_memory="8M", n_threads=2) as engine:
        yield engine
        engine.core.native.check_integrity()


@pytest.mark.parametrize("head", HEADS)
def test_same_as_banning_the_others(
    make_tiny_model: Callable[..., Path], rng: np.random.Generator, isa: str, head: str
) -> None:
    path = make_tiny_model(**HEADS[head])
    with Engine(path, kv_memory="8M", isa="ref") as plain, Engine(path, kv_memory="8M", isa=isa) as fast:
        n_vocab = plain.model.n_vocab
        prompt = plain.open()
        prompt.append(PROMPT)
        last = plain.model.forward_logits(prompt.token_ids(), isa="ref")[-1]
        for n in (1, 2, 3, 16, 60, n_vocab):
            ids = rng.choice(n_vocab, n, replace=False)
            banned = {i: float("-inf") for i in range(n_vocab) if i not in ids}
            for options in WAYS:
                bias = {**options.get("logit_bias", {}), **banned}
                wanted = tokens(run(plain, **options | {"logit_bias": bias}))
                found = run(fast, **options, allowed_tokens=ids.tolist())
                assert tokens(found) == wanted
                best = np.sort(last[ids])
                assert found[0].logit_gap == (best[-1] - best[-2] if n > 1 else np.inf)  # bit for bit


def test_rows_of_every_kind_in_one_batch(engine: Engine) -> None:
    kinds: list[dict[str, object]] = [
        {},
        {"allowed_tokens": (5, 70, 100)},
        {"temperature": 1.0, "seed": 3},
        {"allowed_tokens": (5, 70, 100), "temperature": 1.0, "seed": 4},
        {"allowed_tokens": tuple(range(0, 200, 3))},
        {"allowed_tokens": (5, 70, 100), "logprobs": True},
        {"logprobs": True},
        {"allowed_tokens": (255,)},
    ]
    alone = [[(e.token_id, e.logprob, e.logit_gap) for e in run(engine, **kind)] for kind in kinds]
    for order in (range(8), (1, 0, 4, 6, 5, 2, 3, 7), (1, 3, 4, 7)):
        generations = {}
        for i in order:
            sequence = engine.open()
            sequence.append(PROMPT)
            generations[i] = sequence.generate(max_tokens=8, ignore_eos=True, **kinds[i])
        for i, generation in generations.items():
            assert [(e.token_id, e.logprob, e.logit_gap) for e in generation] == alone[i]


def test_logprobs_are_the_models_own(engine: Engine) -> None:
    sequence = engine.open()
    n_prompt = sequence.append(PROMPT)
    events = list(
        sequence.generate(max_tokens=5, allowed_tokens=(70, 9, 33), ignore_eos=True, logprobs=True, top_logprobs=1)
    )
    logits = engine.model.forward_logits(sequence.token_ids()[:-1])[n_prompt - 1 :]
    for event, row in zip(events, logits, strict=True):
        assert event.token_id == max((9, 33, 70), key=lambda i: row[i])
        assert event.logprob == log_softmax(row)[event.token_id]
        assert event.top_logprobs[0].token_id == row.argmax()


def test_order_and_repetition_do_not_matter(engine: Engine) -> None:
    wanted = [(e.token_id, e.logit_gap) for e in run(engine, allowed_tokens=[9, 33, 70])]
    assert [(e.token_id, e.logit_gap) for e in run(engine, allowed_tokens=[70, 33, 9, 33, 70])] == wanted


def test_eos_ends_only_where_it_is_allowed(engine: Engine) -> None:
    eos = min(engine.model.tokenizer.eos_ids)
    events = run(engine, allowed_tokens=(70,), logit_bias={eos: 1000.0}, ignore_eos=False)
    assert tokens(events) == [70] * 8
    events = run(engine, allowed_tokens=(70, eos), logit_bias={eos: 1000.0}, ignore_eos=False)
    assert [e.finish_reason for e in events] == [FinishReason.STOP]


def test_ids_outside_the_vocabulary_are_refused(engine: Engine) -> None:
    with pytest.raises(
        InvalidRequest, match=f"allowed_tokens has token {engine.model.n_vocab} of a vocabulary"
    ) as caught:
        run(engine, allowed_tokens=(3, engine.model.n_vocab))
    assert caught.value.param == "allowed_tokens"
    assert len(run(engine, allowed_tokens=(3,))) == 8


async def test_async_too(engine: Engine) -> None:
    sequence = AsyncEngine.wrap(engine).open()
    sequence.append(PROMPT)
    events = [e async for e in sequence.generate(max_tokens=8, ignore_eos=True, allowed_tokens=[70, 33, 9])]
    assert tokens(events) == tokens(run(engine, allowed_tokens=(9, 33, 70)))
