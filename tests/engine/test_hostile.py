"""Hostile constraints hurt nobody: each is refused in time or does what it says, and others are served meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from kvtape import Engine
from kvtape.engine.constraints import check_constraint
from kvtape.errors import EngineFailed, InvalidRequest
from kvtape.types import Constraint, ConstraintKind
from tests.engine.hostile import REFUSED, SURVIVED

PROMPT = "the quick brown fox jumps over the lazy dog"


@pytest.fixture(scope="module")
def engine(tiny_model) -> Iterator[Engine]:
    with Engine(tiny_model, kv_memory="8M", n_threads=2) as engine:
        check_constraint(engine.model, Constraint(ConstraintKind.REGEX, "a"))  # the process is up
        yield engine
        assert len(answer(engine)) == 5


def answer(engine: Engine) -> list[int]:
    sequence = engine.open()
    sequence.append(PROMPT)
    return [event.token_id for event in sequence.generate(max_tokens=5, ignore_eos=True)]


class Asking:
    """Somebody who asks again and again; counts the answers, and the longest time that one took."""

    def __init__(self, engine: Engine) -> None:
        self._engine, self._stop = engine, threading.Event()
        self.n_answers, self.longest = 0, 0.0
        self._thread = threading.Thread(target=self._ask)

    def _ask(self) -> None:
        while not self._stop.is_set():
            start = time.monotonic()
            assert len(answer(self._engine)) == 5
            self.longest = max(self.longest, time.monotonic() - start)
            self.n_answers += 1

    def __enter__(self) -> Asking:
        self._thread.start()
        while not self.n_answers:
            time.sleep(0.001)
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()


@pytest.mark.parametrize("name", REFUSED)
def test_refused(engine, name):
    with Asking(engine) as other:
        start, n_answers = time.monotonic(), other.n_answers
        with pytest.raises(InvalidRequest) as caught:
            check_constraint(engine.model, REFUSED[name])
        seconds = time.monotonic() - start
    assert caught.value.param == "constraint"
    assert len(str(caught.value)) < 500
    assert seconds < 5  # half a second on an idle machine
    assert seconds < 0.5 or other.n_answers > n_answers


@pytest.mark.parametrize("name", SURVIVED)
def test_survived(engine, name):
    sequence = engine.open()
    sequence.append(PROMPT)
    n_events, failure = 0, ""
    with Asking(engine) as other:
        try:
            for _ in sequence.generate(temperature=1.0, seed=3, max_tokens=40, constraint=SURVIVED[name]):
                n_events += 1
        except EngineFailed as error:
            failure = str(error)
    assert n_events <= 40
    assert not failure or "its constraint gave up" in failure
    assert other.n_answers


def test_a_slow_constraint_gives_up(engine):
    sequence = engine.open()
    sequence.append(PROMPT)
    bias = dict.fromkeys(engine.model.tokenizer.eos_ids, float("-inf"))
    constraint = Constraint(ConstraintKind.LARK, 'start: s\ns: s s s | s s | "a" | "b" | s')
    with pytest.raises(EngineFailed, match="its constraint gave up"):
        list(sequence.generate(temperature=1.0, seed=3, max_tokens=1000, logit_bias=bias, constraint=constraint))
