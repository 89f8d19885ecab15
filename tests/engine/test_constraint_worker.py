"""Constraints are tried in forks: those that crash, hang or grow cost an answer and no process."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from kvtape.engine import constraint_worker
from kvtape.engine.worker_process import WorkerProcess


@pytest.fixture(scope="module")
def worker() -> Iterator[WorkerProcess]:
    setup = {"tokens": [chr(byte) for byte in range(256)] + ["\xff<end>"], "eos_ids": [256]}
    worker = WorkerProcess(
        constraint_worker.__file__,
        [json.dumps({"max_grammar_size": 10_000, "initial_lexer_fuel": 10**12, "verbose_errors": False}), "0.3"],
        setup,
        max_bytes=512 << 20,
        max_seconds=20,
        max_answer_bytes=10_000,
    )
    yield worker
    worker.close()


def error_of(worker: WorkerProcess, grammar: str) -> str:
    grammar += '\n%llguidance {"no_forcing": true}'
    return worker.ask(json.dumps({"grammar": grammar}).encode()).get("error", "")


def test_what_passes(worker):
    assert error_of(worker, 'start: "a" <end>') == ""
    assert error_of(worker, "start: /a+/") == ""


@pytest.mark.parametrize(
    ("grammar", "says"),
    [
        ("start: missing", "unknown name"),
        ("start: " + " ".join('"a"' for _ in range(30_000)), "size"),
        ("start: /[^\\x00-\\x{10ffff}]/", "NoExtensionBias"),
        ("start: A\nA: " + " & ".join(f"/(.*{c}.{{40}}.*)*/" for c in "abcdefghij"), "too much time"),
        ("start: a0\n" + "\n".join(f"a{i}: a{i + 1}" for i in range(9000)) + '\na9000: "x"', "nested too deep"),
    ],
)
def test_what_does_not(worker, grammar, says):
    worker.start()
    process, start = worker._process, time.monotonic()
    assert says in error_of(worker, grammar)
    assert time.monotonic() - start < 10
    assert error_of(worker, "start: /a+/") == ""
    assert worker._process is process
