"""The worker that tries a constraint before the server's own process compiles it; driven by `constraints.py`.

A constraint comes from a stranger. The library bounds most of what it may cost, and this process bounds the rest: what
it survives here, with less memory and a smaller stack, is compiled again where it is used.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

import llguidance

_STACK_BYTES = 1 << 20  # an eighth of what the threads of most systems have


class Vocabulary(llguidance.TokenizerWrapper):
    """What the library wants to know of a tokenizer; `encode` turns text in which nothing is special into tokens."""

    def __init__(self, tokens: list[bytes], eos_id: int) -> None:
        self.is_tokenizer_wrapper = True
        self.tokens = tokens
        self.eos_token_id = eos_id
        self.bos_token_id = None
        self.special_token_ids: list[int] = []
        self.encode: Callable[[str], list[int]] = lambda text: []

    def __call__(self, text: str) -> list[int]:
        return self.encode(text)


def make_answer(limits: str) -> Callable[[dict[str, Any]], dict[str, str]]:
    """What turns {"tokens", "eos_ids"}, the first request, and then {"grammar"} into {}, or {"error"}."""
    parser_limits = llguidance.LLParserLimits(**json.loads(limits))
    tokenizer: llguidance.LLTokenizer | None = None

    def answer(request: dict[str, Any]) -> dict[str, str]:
        nonlocal tokenizer
        if "tokens" in request:
            tokens = [token.encode("latin-1") for token in request["tokens"]]
            vocabulary = Vocabulary(tokens, request["eos_ids"][0])
            tokenizer = llguidance.LLTokenizer(vocabulary, eos_token=request["eos_ids"])
            vocabulary.encode = tokenizer.greedy_tokenize
            return {}
        assert tokenizer is not None
        matcher = llguidance.LLMatcher(tokenizer, request["grammar"], log_level=0, limits=parser_limits)
        if not matcher.is_error():
            matcher.compute_bitmask()
        return {"error": matcher.get_error()} if matcher.is_error() else {}

    def answer_on_small_stack(request: dict[str, Any]) -> dict[str, str]:
        answers: list[dict[str, str]] = []

        def run() -> None:
            try:
                answers.append(answer(request))
            except BaseException as error:  # the library's panics are no Exception
                answers.append({"error": str(error) or type(error).__name__})

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        return answers[0]

    threading.stack_size(_STACK_BYTES)
    return answer_on_small_stack
