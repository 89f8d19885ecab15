"""The worker that tries a constraint before the server's own process compiles it; driven by `constraints.py`.

A constraint comes from a stranger. The library bounds most of what it may cost. The rest is bounded here: each is tried
by a fork of this process, which knows the vocabulary already, with little time, memory and stack.
"""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable
from typing import Any

import llguidance

_STACK_BYTES = 1 << 20  # an eighth of what threads have on most systems
_MAX_ERROR_BYTES = 4096


class Vocabulary(llguidance.TokenizerWrapper):
    """What the library wants to know of a tokenizer: the bytes of each token, where 0xFF begins what spells nothing."""

    def __init__(self, tokens: list[bytes], eos_id: int) -> None:
        self.is_tokenizer_wrapper = True
        self.tokens = tokens
        self.eos_token_id = eos_id
        self.bos_token_id = None
        self.special_token_ids: list[int] = []

    def __call__(self, text: str) -> list[int]:
        raise NotImplementedError("no text is turned into tokens: the model chooses among all that spell it")


def make_answer(limits: str, max_seconds: str) -> Callable[[dict[str, Any]], dict[str, str]]:
    """What turns {"tokens", "eos_ids"}, the first request, and then {"grammar"} into {}, or {"error"}."""
    parser_limits = llguidance.LLParserLimits(**json.loads(limits))
    tokenizer: llguidance.LLTokenizer | None = None

    def error_of(grammar: str) -> str:
        assert tokenizer is not None
        matcher = llguidance.LLMatcher(tokenizer, grammar, log_level=0, limits=parser_limits)
        if not matcher.is_error():
            matcher.compute_bitmask()
        return matcher.get_error()

    def answer(request: dict[str, Any]) -> dict[str, str]:
        nonlocal tokenizer
        if "tokens" in request:
            tokens = [token.encode("latin-1") for token in request["tokens"]]
            vocabulary = Vocabulary(tokens, request["eos_ids"][0])
            tokenizer = llguidance.LLTokenizer(vocabulary, eos_token=request["eos_ids"])
            return {}
        error = _in_fork(lambda: error_of(request["grammar"]), float(max_seconds))
        return {"error": error} if error else {}

    return answer


def _in_fork(function: Callable[[], str], max_seconds: float) -> str:
    """Return what a function returns, or how the process that ran it ended."""
    reading, writing = os.pipe()
    process = os.fork()
    if process == 0:
        signal.setitimer(signal.ITIMER_PROF, max_seconds)  # nobody handles its signal, which ends the process
        os.write(writing, _on_small_stack(function).encode()[:_MAX_ERROR_BYTES])
        os._exit(0)
    os.close(writing)
    with open(reading, "rb") as pipe:
        said = pipe.read().decode("utf-8", "replace")
    status = os.waitpid(process, 0)[1]
    if status == 0:
        return said
    timed_out = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGPROF
    return "it takes too much time" if timed_out else "it takes too much memory or is nested too deep"


def _on_small_stack(function: Callable[[], str]) -> str:
    results: list[str] = []

    def run() -> None:
        try:
            results.append(function())
        except BaseException as error:  # the library's panics are no Exception
            results.append(str(error) or type(error).__name__)

    threading.stack_size(_STACK_BYTES)
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return results[0]
