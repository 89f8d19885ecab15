"""Constraints: from a schema, a regex or a grammar to the masks that a guided generation draws its tokens with.

A constraint comes from a stranger. Its size and nesting are looked at first; then a process of its own tries it
(`constraint_worker.py`); only then it is compiled here, under the same limits. All of that blocks, mostly without the
GIL, and is neither for the engine's thread nor for an event loop.

A mask allows every token whose text can go on to a match, not only those that the tokenizer would choose for that text
(`no_forcing`): the model's own distribution decides among them, and no Python runs while a mask is computed.
"""

from __future__ import annotations

import functools
import json
import os
import re
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import llguidance
import numpy as np
import numpy.typing as npt

from kvtape.engine.constraint_worker import Vocabulary
from kvtape.engine.worker_process import WorkerFailed, WorkerProcess
from kvtape.errors import EngineFailed, InvalidRequest, Overloaded
from kvtape.model.load import Model
from kvtape.model.tokenizer import Tokenizer
from kvtape.types import Constraint, ConstraintKind, SamplingParams

__all__ = [
    "JSON_OBJECT",
    "MAX_DEPTH",
    "MAX_SOURCE_BYTES",
    "Guide",
    "check_constraint",
    "compile_constraint",
    "opening_token",
]

JSON_OBJECT = Constraint(ConstraintKind.JSON_SCHEMA, '{"type": "object"}')  # any JSON object

MAX_SOURCE_BYTES = 128 << 10
MAX_DEPTH = 64  # of brackets in brackets

# Between the tokens of JSON: nothing, a space, or a new line with its indentation. Models write all three, and better
# where they may; without a bound small ones go on with blanks until they run out of tokens.
_WHITESPACE = r" |\n {0,24}"

_LIMITS: dict[str, int | bool] = {
    "max_items_in_row": 2000,
    "initial_lexer_fuel": 1_000_000,  # 20 ms
    "step_lexer_fuel": 200_000,  # 15 ms
    "step_max_items": 50_000,  # 3 ms
    "max_lexer_states": 20_000,  # 40 MB
    "max_grammar_size": 200_000,
    "precompute_large_lexemes": True,
    "verbose_errors": False,  # its errors would quote the whole grammar
}
_WORKER = Path(__file__).with_name("constraint_worker.py")
_WORKER_BYTES = 1 << 30  # of address space, the interpreter's own and the vocabulary included
_TRY_SECONDS = 0.5  # of processor time, for what the limits above do not stop; a schema of 100 KB takes a third of that
_N_REMEMBERED = 256  # constraints whose verdict is kept

# Processor time that a generation's masks may take. Most take 0.01 to 0.5 ms; grammars that can be read in many ways
# take hundreds, and everybody's masks are computed by one thread.
_MASK_SECONDS = 0.25
_MASK_SECONDS_A_TOKEN = 0.003

_SLOW_SECONDS = 0.001

_OPTIONS = '%llguidance {"no_forcing": true}'

_MAX_EXACT = 1 << 53  # bounds are compared as float64
_BOUNDS = frozenset(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"))


class Guide:
    """Follows one generation through its constraint. For one thread at a time.

    Args:
        matcher: at its beginning.
        n_vocab: number of tokens.
        opening: the token that may come first instead and opens the reasoning, which is not guided.
    """

    def __init__(self, matcher: llguidance.LLMatcher, n_vocab: int, opening: int | None = None) -> None:
        self._matcher = matcher
        self._opening = opening
        self._words = np.zeros((n_vocab + 63) // 64, np.uint64)
        self._address, self._n_bytes = self._words.ctypes.data, (n_vocab + 31) // 32 * 4
        self._slow = False
        self._seconds = _MASK_SECONDS

    def mask(self) -> npt.NDArray[np.uint64]:
        """Return which tokens may come next: bit id % 64 of word id / 64. The array is reused by the next call.

        Releases the GIL.

        Raises:
            EngineFailed: the constraint is too complex here, or nothing can follow.
        """
        start = time.thread_time()
        self._matcher.unsafe_compute_mask_ptr(self._address, self._n_bytes)
        seconds = time.thread_time() - start
        self._slow = seconds > _SLOW_SECONDS
        self._seconds += _MASK_SECONDS_A_TOKEN - seconds
        if self._matcher.is_error():
            raise EngineFailed(f"generation: its constraint gave up: {_brief(self._matcher.get_error())}")
        if self._seconds < 0:
            raise EngineFailed("generation: its constraint gave up: its masks take too much time")
        if self._opening is not None:
            self._words[self._opening // 64] |= np.uint64(1 << self._opening % 64)
        return self._words

    def consume(self, token: int) -> None:
        """Go on behind a token that was drawn. Releases the GIL where it may take long.

        Raises:
            EngineFailed: the constraint is too complex here.
        """
        self._opening = None
        # The matcher's own method holds the GIL: for a microsecond, or up to a quarter of a second where the grammar
        # can be read in many ways and the mask took long already. Two matchers at once go without it, but by way of
        # another thread, which made a third of all masks late where the engine keeps every core busy.
        if self._slow:
            idle = llguidance.LLMatcher(_byte_tokenizer(), "", log_level=0)  # refuses every token at once
            (right, _) = _executor(os.getpid()).consume_token_par([(self._matcher, token), (idle, 0)])
        else:
            right = self._matcher.consume_token(token)
        if not right:
            raise EngineFailed(f"generation: its constraint gave up: {_brief(self._matcher.get_error())}")

    def reason(self) -> None:
        """Go on behind the reasoning that the first token has opened."""
        self._opening = None


@functools.cache
def _executor(process: int) -> llguidance.LLExecutor:
    """A process's own: its thread does not come along with a fork."""
    return llguidance.LLExecutor(num_threads=1)


@functools.cache
def _byte_tokenizer() -> llguidance.LLTokenizer:
    return llguidance.LLTokenizer("byte")


class _Compiler:
    """What a model's constraints have in common: its vocabulary, and the process that tries them."""

    def __init__(self, model: Model) -> None:
        self._n_vocab = model.n_vocab
        tokenizer = model.tokenizer
        eos_ids = sorted(tokenizer.eos_ids)
        if not eos_ids:
            raise InvalidRequest(
                "the model has no token that ends a text, which a constraint needs", param="constraint"
            )
        tokens = _token_bytes(tokenizer)
        # Once a model, about 2.5 microseconds a token with the GIL held.
        self._tokenizer = llguidance.LLTokenizer(Vocabulary(tokens, eos_ids[0]), eos_token=eos_ids)
        self._limits = llguidance.LLParserLimits(**_LIMITS)  # type: ignore[arg-type]
        self._worker = WorkerProcess(
            _WORKER,
            [json.dumps(_LIMITS), str(_TRY_SECONDS)],
            {"tokens": [token.decode("latin-1") for token in tokens], "eos_ids": eos_ids},
            max_bytes=_WORKER_BYTES,
            max_seconds=10 * _TRY_SECONDS,
            max_answer_bytes=1 << 16,
            setup_seconds=30.0,
        )
        self._lock = threading.Lock()
        self._verdicts: OrderedDict[Constraint, str] = OrderedDict()  # error, or "" where it has passed

    def compile(self, constraint: Constraint, opening: int | None) -> Guide:
        grammar = _grammar(constraint)
        error = self._try(constraint, grammar)
        if not error:
            try:
                matcher = llguidance.LLMatcher(self._tokenizer, grammar, log_level=0, limits=self._limits)
                guide = Guide(matcher, self._n_vocab, opening)
                error = matcher.get_error()
                if not error:
                    guide.mask()
                    return guide
            except EngineFailed as failure:
                error = str(failure)
            except BaseException as failure:  # the library's panics are no Exception
                if not type(failure).__module__.startswith("pyo3"):
                    raise
                error = str(failure)
        raise InvalidRequest(f"the {constraint.kind} cannot be enforced: {_brief(error)}", param="constraint")

    def _try(self, constraint: Constraint, grammar: str) -> str:
        with self._lock:
            if constraint in self._verdicts:
                self._verdicts.move_to_end(constraint)
                return self._verdicts[constraint]
        try:
            error = str(self._worker.ask(json.dumps({"grammar": grammar}).encode()).get("error", ""))
        except WorkerFailed as failure:
            raise Overloaded(f"the {constraint.kind} could not be tried: {failure}", retry_after=1.0) from None
        with self._lock:
            self._verdicts[constraint] = error
            if len(self._verdicts) > _N_REMEMBERED:
                self._verdicts.popitem(last=False)
        return error


_COMPILERS: weakref.WeakKeyDictionary[Model, _Compiler] = weakref.WeakKeyDictionary()
_COMPILERS_LOCK = threading.Lock()


def compile_constraint(model: Model, constraint: Constraint, opening: int | None = None) -> Guide:
    """Compile a constraint for one generation, which may begin with the token `opening` and reason first.

    Blocks: about a millisecond, at most a second where it is hostile, and once a model as long as it takes to start a
    process and read the vocabulary there.

    Raises:
        InvalidRequest: it is none, cannot be enforced, costs too much, or nothing can match it.
        Overloaded: the process that tries it does not answer.
    """
    with _COMPILERS_LOCK:
        compiler = _COMPILERS.get(model)
        if compiler is None:
            compiler = _COMPILERS[model] = _Compiler(model)
    try:
        return compiler.compile(constraint, opening)
    except InvalidRequest as error:
        error.param = constraint.param
        raise


def opening_token(tokenizer: Tokenizer, params: SamplingParams) -> int | None:
    """Return the token that opens the reasoning of a reply; None where there is none, or it takes several."""
    span = params.reasoning
    if span is None or span.opened or span.open != span.open.lstrip():
        return None
    ids = tokenizer.encode(span.open, parse_special=True)
    spelled = len(ids) == 1 and (ids[0] in params.shown_tokens or tokenizer.decode(ids) == span.open)
    return ids[0] if spelled else None


def check_constraint(model: Model, constraint: Constraint) -> None:
    """Refuse a constraint before a stream has begun; blocks and raises as `compile_constraint`."""
    compile_constraint(model, constraint)


def _token_bytes(tokenizer: Tokenizer) -> list[bytes]:
    """What tokens spell, as the library wants it: a token that spells nothing is a name behind 0xFF."""
    spelled = tokenizer.token_bytes()
    return [text or b"\xff" + (tokenizer.token_text(i).encode() or b"?") for i, text in enumerate(spelled)]


def _brief(error: str) -> str:
    """The part of the library's error that is about the constraint."""
    line = " ".join(error.split("\n<", 1)[0].split("Enable 'coerce_one_of'", 1)[0].split())
    if line == "NoExtensionBias":
        return "nothing can match it"
    return line if len(line) <= 300 else line[:300] + "…"


def _grammar(constraint: Constraint) -> str:
    """Return a constraint as the library's own JSON.

    Raises:
        InvalidRequest: it is too large, too deep, or no JSON where it must be.
    """
    source = constraint.source
    try:
        n_bytes = len(source.encode())
    except UnicodeEncodeError:
        raise InvalidRequest(
            f"the {constraint.kind} has lone surrogates, which UTF-8 cannot hold", param="constraint"
        ) from None
    if n_bytes > MAX_SOURCE_BYTES:
        raise InvalidRequest(
            f"the {constraint.kind} has {n_bytes} bytes, at most {MAX_SOURCE_BYTES}", param="constraint"
        )
    if _depth(source) > MAX_DEPTH:
        raise InvalidRequest(f"the {constraint.kind} nests brackets deeper than {MAX_DEPTH} levels", param="constraint")
    if constraint.kind is ConstraintKind.JSON_SCHEMA:
        parts: list[dict[str, Any]] = [
            {"lark_grammar": "start: @schema\n" + _OPTIONS},
            {"name": "schema", "json_schema": checked_schema(source)},
        ]
    elif constraint.kind is ConstraintKind.REGEX:
        parts = [{"lark_grammar": f"start: /{llguidance.regex_to_lark(source, '')}/\n{_OPTIONS}"}]
    else:
        parts = [{"lark_grammar": f"{source}\n{_OPTIONS}"}]
    return json.dumps({"grammars": parts})


def _depth(source: str) -> int:
    depth = deepest = 0
    for bracket in re.findall(r"[\[\](){}]", source):
        depth += 1 if bracket in "[({" else -1
        deepest = max(deepest, depth)
    return deepest


def checked_schema(source: str) -> dict[str, Any]:
    """Return a JSON Schema as the library takes it, also inside a grammar, where it stands behind `%json`.

    Raises:
        InvalidRequest: it is no JSON, or no schema, or the library would enforce it nearly.
    """
    try:
        schema = json.loads(
            source, object_pairs_hook=_unique, parse_constant=_no_constant, parse_int=_integer, parse_float=_finite
        )
        _check_bounds(schema)
        json.dumps(schema, ensure_ascii=False).encode()
    except InvalidRequest:
        raise
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"the json_schema is not JSON: {error}", param="constraint") from None
    if schema is True:
        schema = {}
    if not isinstance(schema, dict):
        raise InvalidRequest("the json_schema must be an object or true", param="constraint")
    if "x-guidance" in schema:
        raise InvalidRequest("the json_schema has the unknown keyword 'x-guidance'", param="constraint")
    return {**schema, "x-guidance": {"whitespace_pattern": _WHITESPACE}}


def _unique(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise InvalidRequest(f"the json_schema has the key {key!r:.80} twice in one object", param="constraint")
        found[key] = value
    return found


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is no JSON number")


def _integer(text: str) -> int:
    if len(text) > 19 or not -(1 << 63) <= int(text) < 1 << 63:
        raise InvalidRequest(f"the json_schema has the number {text:.40}, beyond 64 bits", param="constraint")
    return int(text)


def _finite(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise InvalidRequest(f"the json_schema has the number {text:.40}, beyond float64", param="constraint")
    return number


def _check_bounds(value: Any) -> None:
    """Refuse what the library would enforce nearly: bounds beyond float64, and counts of keys that may repeat."""
    if isinstance(value, dict):
        n_keys, required = value.get("minProperties"), value.get("required", [])
        if isinstance(n_keys, int) and isinstance(required, list) and n_keys > len(required) + 1:
            raise InvalidRequest(
                f"minProperties is {n_keys}, but at most one property beyond those in required can be enforced",
                param="constraint",
            )
        for key, inner in value.items():
            if key in _BOUNDS and isinstance(inner, int) and abs(inner) > _MAX_EXACT:
                raise InvalidRequest(f"{key} is {inner}, beyond 2^53, where bounds are not exact", param="constraint")
            _check_bounds(inner)
    elif isinstance(value, list):
        for inner in value:
            _check_bounds(inner)
