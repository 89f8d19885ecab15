"""The worker's answers, in this process, to constraints that are no bombs."""

from __future__ import annotations

import json
import threading

import pytest

from kvtape.engine.constraint_worker import make_answer


def test_answers():
    stack_size = threading.stack_size()
    try:
        answer = make_answer(json.dumps({"max_grammar_size": 1000, "verbose_errors": False}))
        assert answer({"tokens": [chr(byte) for byte in range(256)] + ["\xff<end>"], "eos_ids": [256]}) == {}
        assert answer({"grammar": 'start: "a" <end>'}) == {}
        assert "unknown name" in answer({"grammar": "start: missing"})["error"]
        assert "size" in answer({"grammar": "start: " + " ".join('"a"' for _ in range(3000))})["error"]
        assert answer({"grammar": "start: /a+/"}) == {}
    finally:
        threading.stack_size(stack_size)


def test_a_panic_is_an_answer(monkeypatch):
    stack_size = threading.stack_size()
    try:
        answer = make_answer("{}")
        with pytest.raises(KeyError):
            raise KeyError
        assert "eos_ids" in answer({"tokens": ["a"]})["error"]
    finally:
        threading.stack_size(stack_size)
