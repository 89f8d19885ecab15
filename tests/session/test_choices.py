"""Declared sets of answers: their token paths, and their probabilities against every path multiplied out in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest

from kvtape.engine import AsyncEngine, Engine
from kvtape.errors import EngineFailed, InvalidRequest
from kvtape.session import choices as choices_module
from kvtape.session.choices import (
    MAX_CHOICES,
    RAW_LEADS,
    TEMPLATE_LEADS,
    ChoiceTree,
    Odds,
    Weighing,
    check_choices,
    weigh,
)
from kvtape.types import WorkClass
from tests.reference.transformer import TransformerReference

CONTEXT = "the system is closing and the user is on"
SETS = [
    (("on", "in"), TEMPLATE_LEADS),
    (("closes", "closing", "the an"), RAW_LEADS),
    (("t", "a", "é"), RAW_LEADS),
    (("assistant", "user", "system"), TEMPLATE_LEADS),
]


def paths(tokenizer, text: bytes) -> list[list[int]]:
    """Every list of token ids whose bytes are `text`, the plain way."""
    pieces = tokenizer.token_bytes()
    if not text:
        return [[]]
    return [
        [token_id, *rest]
        for token_id, piece in enumerate(pieces)
        if piece and text.startswith(piece)
        for rest in paths(tokenizer, text[len(piece) :])
    ]


def probabilities(forward, prompt: list[int], tokenizer, choices, leads) -> np.ndarray:
    """Of each choice: softmaxes of whole rows of logits, multiplied along each path, in float64."""
    totals = np.zeros(len(choices))
    for index, choice in enumerate(choices):
        for lead in leads:
            for path in paths(tokenizer, (lead + choice).encode()):
                logits = forward(np.array([*prompt, *path[:-1]], np.int32))[len(prompt) - 1 :].astype(np.float64)
                logprobs = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
                totals[index] += math.exp(sum(row[token] for row, token in zip(logprobs, path, strict=True)))
    return totals


async def weighed(engine: AsyncEngine, trees, prompts) -> list[Odds]:
    begun, done = [], []
    with engine.together():
        for tree, prompt in zip(trees, prompts, strict=True):
            sequence = engine.open()
            sequence.append(prompt)
            begun.append((Weighing(tree), sequence, sequence.generate(tree.root.params())))
    roots = [(weighing, sequence, await anext(events)) for weighing, sequence, events in begun]
    await weigh(roots, engine, work=WorkClass.FLASH, on_done=done.append)
    for _, sequence, _ in roots:
        sequence.close()
    assert set(done) == {weighing for weighing, _, _ in roots}
    return [weighing.odds() for weighing, _, _ in roots]


@pytest.mark.parametrize(
    ("choices", "param"),
    [
        (("up",), "choices"),
        (tuple(f"{i:02}" for i in range(MAX_CHOICES + 1)), "choices"),
        (("up", ""), r"choices\[1\]"),
        (("up", " down"), r"choices\[1\]"),
        (("up\n", "down"), r"choices\[0\]"),
        (("up", "down", "up"), r"choices\[2\]"),
        (("up", "upward"), r"choices\[1\]"),
        (("upward", "up"), r"choices\[1\]"),
        (("up", "é" * 33), r"choices\[1\]"),
        (("up", "\ud800"), r"choices\[1\]"),
    ],
)
def test_refused(choices, param):
    with pytest.raises(InvalidRequest, match=param) as caught:
        check_choices(choices)
    assert caught.value.param is not None
    with pytest.raises(InvalidRequest, match=param.replace("choices", r"flash\[3\].choices", 1)):
        check_choices(choices, param="flash[3].choices")


def test_a_set_is_allowed():
    check_choices(tuple(f"{i:02}" for i in range(MAX_CHOICES)))
    check_choices(("Strong buy", "Strong sell", "é" * 32))


@pytest.mark.parametrize(("choices", "leads"), SETS)
def test_the_tree_holds_every_path_and_no_other(tiny_engine, choices, leads):
    tokenizer = tiny_engine.model.tokenizer
    tree = ChoiceTree(tokenizer, choices, leads)
    found, inner = [], set()

    def walk(node, path):
        assert (node.choice is None) == bool(node.children)
        if node.choice is not None:
            found.append((node.choice, path))
        elif path:
            inner.add(path)
        for token_id, child in node.children.items():
            walk(child, (*path, token_id))

    walk(tree.root, ())
    wanted = [
        (index, tuple(path))
        for index, choice in enumerate(choices)
        for lead in leads
        for path in paths(tokenizer, (lead + choice).encode())
    ]
    assert sorted(found) == sorted(wanted)
    assert tree.n_nodes == len(inner)
    assert tree.depth == max(len(path) for _, path in wanted)
    assert tree.n_tokens == [len(tokenizer.encode(choice)) for choice in choices]


def test_a_choice_of_too_many_paths_is_refused_by_name(tiny_engine, monkeypatch):
    tokenizer = tiny_engine.model.tokenizer
    monkeypatch.setattr(choices_module, "MAX_CHOICE_NODES", 8)
    with pytest.raises(InvalidRequest, match="'assistant'") as caught:
        ChoiceTree(tokenizer, ("on", "assistant"), TEMPLATE_LEADS)
    assert caught.value.param == "choices[1]"
    ChoiceTree(tokenizer, ("on", "x" * 9), TEMPLATE_LEADS)
    monkeypatch.setattr(choices_module, "MAX_NODES", 8)
    with pytest.raises(InvalidRequest, match="inner nodes") as caught:
        ChoiceTree(tokenizer, ("on", "x" * 9), TEMPLATE_LEADS)
    assert caught.value.param == "choices"


def test_the_longest_choice_is_counted_before_anything_is_built(tiny_engine):
    with pytest.raises(InvalidRequest, match="too many ways"):
        ChoiceTree(tiny_engine.model.tokenizer, ("on", "closing the assistant " * 2 + "user"), RAW_LEADS)


@pytest.mark.parametrize(("choices", "leads"), SETS)
async def test_probabilities_are_those_of_all_paths(tiny_engine, choices, leads):
    engine, model = AsyncEngine.wrap(tiny_engine), tiny_engine.model
    prompt = model.tokenizer.encode(CONTEXT)
    exact = probabilities(model.forward_logits, prompt, model.tokenizer, choices, leads)
    tree = ChoiceTree(model.tokenizer, choices, leads)
    n_before = engine.stats().n_sequences
    [odds] = await weighed(engine, [tree], [prompt])
    assert engine.stats().n_sequences == n_before
    # a log-probability is a float32 of at most about 16, so it is off by 2**-21 at most; there are `depth` of them
    error = tree.depth * 2.0**-21
    np.testing.assert_allclose(odds.coverage, exact.sum(), rtol=error)
    np.testing.assert_allclose(list(odds.probabilities.values()), exact / exact.sum(), rtol=2 * error)
    assert math.fsum(odds.probabilities.values()) == pytest.approx(1.0, abs=1e-15)
    assert odds.best == choices[int(exact.argmax())]
    assert 0 < odds.coverage < 1


async def test_probabilities_are_the_true_models(make_tiny_model):
    path = make_tiny_model(weights="f32")
    choices, off = ("the", "on"), 0.0
    with Engine(path, kv_memory="16M", n_threads=1) as blocking:
        engine, model = AsyncEngine.wrap(blocking), blocking.model
        prompt = model.tokenizer.encode(CONTEXT)
        tree = ChoiceTree(model.tokenizer, choices, RAW_LEADS)
        [odds] = await weighed(engine, [tree], [prompt])
        reference = TransformerReference(path)

        def forward(ids):
            nonlocal off
            logits = reference.forward(ids)
            off = max(off, np.abs(model.forward_logits(ids) - logits).max())  # keys and values are float16
            return logits

        exact = probabilities(forward, prompt, model.tokenizer, choices, RAW_LEADS)
    error = math.expm1(2 * tree.depth * off)  # a log-probability is off by twice what a logit is, at most
    assert error < 0.15
    np.testing.assert_allclose(odds.coverage, exact.sum(), rtol=error)
    np.testing.assert_allclose(list(odds.probabilities.values()), exact / exact.sum(), rtol=2 * error)


async def test_many_trees_are_weighed_together_in_few_steps(tiny_engine, monkeypatch):
    engine, tokenizer = AsyncEngine.wrap(tiny_engine), tiny_engine.model.tokenizer
    trees = [ChoiceTree(tokenizer, choices, TEMPLATE_LEADS) for choices in (("on", "in"), ("user", "the an"))]
    prompts = [tokenizer.encode(CONTEXT), tokenizer.encode(CONTEXT + " and")]
    alone = [(await weighed(engine, [tree], [prompt]))[0] for tree, prompt in zip(trees, prompts, strict=True)]
    for max_rows in (64, 3):
        monkeypatch.setattr(choices_module, "MAX_ROWS", max_rows)
        n_steps = engine.stats().steps
        assert await weighed(engine, trees, prompts) == alone  # bit for bit
        n_steps = engine.stats().steps - n_steps - 1  # that of the prompts
        levels = max(tree.depth for tree in trees) - 1
        n_nodes = sum(tree.n_nodes for tree in trees)
        if max_rows == 64:
            assert n_steps == levels
        else:
            assert n_nodes / max_rows <= n_steps <= n_nodes / max_rows + 2 * levels


async def test_what_a_failed_engine_leaves(make_tiny_model):
    blocking = Engine(make_tiny_model(), kv_memory="8M", n_threads=1)
    engine = AsyncEngine.wrap(blocking)
    tree = ChoiceTree(blocking.model.tokenizer, ("on", "in"), RAW_LEADS)
    sequence = engine.open()
    sequence.append(CONTEXT)
    event = await anext(sequence.generate(tree.root.params()))
    blocking.close()
    with pytest.raises(EngineFailed):
        await weigh([(Weighing(tree), sequence, event)], engine, work=WorkClass.FLASH, on_done=lambda _: None)


def test_odds_of_nothing_are_even():
    weighing = Weighing.__new__(Weighing)
    weighing.masses = [0.0, 0.0]
    weighing.tree = ChoiceTree.__new__(ChoiceTree)
    weighing.tree.choices = ("up", "down")
    assert weighing.odds() == Odds({"up": 0.5, "down": 0.5}, 0.0)
    weighing.masses = [0.25, 0.25]
    assert weighing.odds().best == "up"
