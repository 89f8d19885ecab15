"""The engine thread, and the one seam between it and everybody else.

The thread runs the native `step()` with the GIL released. What a step produced is handed over in one post a listener: a
blocking engine's queues are filled at once, an event loop is woken once.
"""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from kvtape._native import _core
from kvtape.engine.constraints import Guide, compile_constraint
from kvtape.engine.guide_thread import Drawn, GuideThread
from kvtape.errors import EngineFailed, InvalidRequest, SequenceLost
from kvtape.model.load import Model, load, usable_cores
from kvtape.types import Constraint, FinishReason, TokenEvent, TopLogprob, Usage

__all__ = ["KV_TYPES", "EngineCore", "Sink"]

KV_TYPES = ("f16", "q8_0")

_FINISH = {
    _core.FinishReason.none: None,
    _core.FinishReason.stop: FinishReason.STOP,
    _core.FinishReason.length: FinishReason.LENGTH,
    _core.FinishReason.error: FinishReason.ERROR,
}
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


class Sink(Protocol):
    """Takes what a step produced for one generation (events, or the error that ends it) or one wait (None)."""

    def post(self, items: list[tuple[Any, TokenEvent | Exception | None]]) -> None:
        """Deliver each item to its target; called on the engine thread, must not block."""


class _Running(NamedTuple):
    """Where the events of a generation go, and what guides it."""

    sink: Sink
    target: Any
    guide: Guide | None = None


class EngineCore:
    """A model, its native engine and the thread that drives it.

    Raises:
        InvalidRequest: `n_ctx`, `kv_memory`, `kv_type`, `n_threads` or `isa` cannot be honoured.
        NotFound, ModelError: as `kvtape.model.load.load`.
    """

    def __init__(
        self,
        model: str | Path | Model,
        *,
        n_ctx: int | None,
        kv_memory: int | str,
        kv_type: str,
        n_threads: int | None,
        isa: str | None,
    ) -> None:
        if n_threads is not None and not 1 <= n_threads <= 1024:
            raise InvalidRequest(f"n_threads must be from 1 to 1024, found {n_threads}", param="n_threads")
        if kv_type not in KV_TYPES:
            raise InvalidRequest(f"kv_type must be one of {', '.join(KV_TYPES)}, found {kv_type!r}", param="kv_type")
        self.n_threads = n_threads or usable_cores()
        self.model = model if isinstance(model, Model) else load(model, n_threads=self.n_threads)
        self.kv_bytes = parse_memory(kv_memory)
        self.kv_type = kv_type
        self.n_ctx = self._fit_context(n_ctx)
        tokenizer = self.model.tokenizer
        self.native = _core.Engine(
            self.model.core,
            token_bytes=tokenizer.token_bytes(),
            eos=sorted(tokenizer.eos_ids),
            n_ctx=self.n_ctx,
            kv_bytes=self.kv_bytes,
            kv_type=kv_type,
            n_threads=self.n_threads,
            isa=isa or "",
        )
        self.failure: Exception | None = None
        # Guards the two tables; held while a generation is submitted and registered. Re-entrant: the garbage collector
        # may run in a thread that holds it, and a dropped generation cancels itself there.
        self._lock = threading.RLock()
        self._generations: dict[int, _Running] = {}
        self._waits: dict[int, list[tuple[Sink, Any]]] = defaultdict(list)
        owner = weakref.ref(self)
        self._guides = GuideThread(self.native, lambda generation, error: _end(owner, generation, error))
        self._thread = threading.Thread(target=_drive, args=(owner, self.native), name="kvtape-engine", daemon=True)
        self._thread.start()
        self._shutdown = weakref.finalize(  # also at the interpreter's exit
            self, _shut_down, self.native, self._thread, self._guides
        )

    def _fit_context(self, n_ctx: int | None) -> int:
        """Return the longest context that model and KV memory allow, or the one asked for if it fits."""
        core, kv_type = self.model.core, self.kv_type
        limit = (self.kv_bytes // core.block_bytes(kv_type) - 1) * _core.BLOCK_SIZE
        if limit < 1:
            raise InvalidRequest(
                f"kv_memory of {self.kv_bytes} bytes holds no context; "
                f"at least {core.kv_bytes_for(kv_type, 1)} are needed",
                param="kv_memory",
            )
        if n_ctx is None:
            return min(core.n_ctx_train, limit)
        if not 1 <= n_ctx <= core.n_ctx_train:
            raise InvalidRequest(f"n_ctx must be from 1 to {core.n_ctx_train}, found {n_ctx}", param="n_ctx")
        if n_ctx > limit:
            raise InvalidRequest(
                f"n_ctx of {n_ctx} needs {core.kv_bytes_for(kv_type, n_ctx)} bytes of KV memory, "
                f"kv_memory is {self.kv_bytes}",
                param="n_ctx",
            )
        return n_ctx

    def generate(self, sequence: int, params: _core.GenerationParams, sink: Sink, target: Any) -> int:
        """Submit a generation; its events go to `sink.post` with `target`. Returns its id.

        One that is guided draws no token before `guide` or `constrain`.
        """
        with self._lock:
            if self.failure is not None:
                raise EngineFailed(f"engine: {self.failure}") from self.failure
            generation: int = self.native.generate(sequence, params)
            self._generations[generation] = _Running(sink, target)
        return generation

    def guide(self, generation: int, guide: Guide) -> None:
        """Say what guides a generation; no error where it has ended."""
        with self._lock:
            running = self._generations.get(generation)
            if running is None:
                return
            self._generations[generation] = running._replace(guide=guide)
        self.native.set_mask(generation, guide.mask())

    def constrain(self, generation: int, constraint: Constraint, opening: int | None) -> None:
        """Compile what guides a generation, which ends with an error where that fails. Blocks, and raises nothing."""
        try:
            self.guide(generation, compile_constraint(self.model, constraint, opening))
        except Exception as error:
            self.end(generation, error)

    def end(self, generation: int, error: Exception) -> None:
        """End a generation with an error; nothing happens where it has ended."""
        with self._lock:
            running = self._generations.pop(generation, None)
        if running is not None:
            with contextlib.suppress(EngineFailed):  # it is shut down
                self.native.cancel(generation)
            running.sink.post([(running.target, error)])

    def cancel(self, generation: int) -> None:
        """End a generation within one step; no error where it has ended or the engine is shut down."""
        with self._lock:
            known = self._generations.pop(generation, None)
        if known is not None and self._thread.is_alive():
            self.native.cancel(generation)

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Begin no step before the block has ended, so that what it submits runs in one; it must not wait inside."""
        self.native.hold()
        try:
            yield
        finally:
            self.native.release()

    def wait_resident(self, sequence: int, sink: Sink, target: Any) -> bool:
        """Return True where all tokens but the last have KV; else `target` gets None when they may have.

        Raises:
            SequenceLost: they never will.
        """
        with self._lock:
            if self.failure is not None:
                raise EngineFailed(f"engine: {self.failure}") from self.failure
            if self.native.request_resident(sequence):
                return True
            self._waits[sequence].append((sink, target))
        return False

    def wake_waits(self, sequence: int) -> None:
        """Let whoever waits for a sequence look again: it was truncated or closed."""
        with self._lock:
            waits = self._waits.pop(sequence, [])
        for sink, target in waits:
            sink.post([(target, None)])

    def close(self) -> None:
        """Stop the thread; running generations end with `EngineFailed`. Idempotent."""
        self._shutdown()

    def _deliver(self, tokens: list[_core.TokenEvent], resident: list[int]) -> None:
        posts: dict[Sink, list[tuple[Any, TokenEvent | Exception | None]]] = defaultdict(list)
        guided: list[Drawn] = []
        with self._lock:
            for event in tokens:
                finished = event.finish != _core.FinishReason.none
                running = (
                    self._generations.pop(event.generation, None)
                    if finished
                    else self._generations.get(event.generation)
                )
                if running is None:  # it was cancelled meanwhile
                    continue
                posts[running.sink].append((running.target, _to_python(event)))
                if running.guide is not None and event.guided and not finished:
                    guided.append((event.generation, running.guide, None if event.in_reasoning else event.token))
            for sequence in resident:
                for sink, target in self._waits.pop(sequence, []):
                    posts[sink].append((target, None))
        for sink, items in posts.items():
            sink.post(items)
        if guided:
            self._guides.put(guided)

    def _fail(self, failure: Exception) -> None:
        """End everything that runs or waits."""
        posts: dict[Sink, list[tuple[Any, TokenEvent | Exception | None]]] = defaultdict(list)
        with self._lock:
            self.failure = failure
            generations, self._generations = self._generations, {}
            waits, self._waits = self._waits, defaultdict(list)
        ended = [(running.sink, running.target) for running in generations.values()]
        for sink, target in [*ended, *(wait for waiting in waits.values() for wait in waiting)]:
            posts[sink].append((target, failure))
        for sink, items in posts.items():
            sink.post(items)


def _shut_down(native: _core.Engine, thread: threading.Thread, guides: GuideThread) -> None:
    native.stop()
    if thread is not threading.current_thread():
        thread.join()
    guides.close()


def _end(owner: weakref.ref[EngineCore], generation: int, error: Exception) -> None:
    core = owner()
    if core is not None:
        core.end(generation, error)


def _drive(owner: weakref.ref[EngineCore], native: _core.Engine) -> None:
    """Run on the engine thread; holds no reference to its owner while it waits, so that a forgotten engine can go."""
    failure: Exception = EngineFailed("engine: it is shut down")
    try:
        while (events := native.step()) is not None:
            core = owner()
            if core is None:
                return
            core._deliver(*events)
            del core
    except Exception as error:
        failure = error if isinstance(error, EngineFailed) else EngineFailed(f"engine: a step failed: {error}")
    core = owner()
    if core is not None:
        core._fail(failure)


def _to_python(event: _core.TokenEvent) -> TokenEvent | Exception:
    if event.finish == _core.FinishReason.lost:
        return SequenceLost(event.error)
    finish = _FINISH[event.finish]
    if finish is FinishReason.ERROR:
        return EngineFailed(f"generation: {event.error}")
    usage = None
    if event.usage.prompt_tokens:
        usage = Usage(event.usage.prompt_tokens, event.usage.completion_tokens, event.usage.cached_tokens)
    return TokenEvent(
        token_id=event.token,
        text=event.text,
        in_reasoning=event.in_reasoning,
        logprob=event.logprob,
        top_logprobs=tuple(TopLogprob(token, logprob) for token, logprob in event.top),
        logit_gap=event.logit_gap,
        finish_reason=finish,
        stop_string=event.stop_string,
        usage=usage,
    )


def parse_memory(value: int | str) -> int:
    """Return bytes from a number, `"512M"`, `"2GiB"` or `"auto"`: min(a quarter of the machine's memory, 4 GiB).

    Raises:
        InvalidRequest: none of these, or not positive.
    """
    if value == "auto":
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        return min(total // 4, 4 << 30)
    try:
        if isinstance(value, bool):
            raise ValueError
        if isinstance(value, str):
            text = value.strip().lower().removesuffix("b").removesuffix("i")
            number = text.rstrip("kmgt")
            n_bytes = int(float(number) * _UNITS[text[len(number) :]])
        else:
            n_bytes = int(value)
        if n_bytes <= 0:
            raise ValueError
    except (ValueError, KeyError, OverflowError):
        raise InvalidRequest(
            f"kv_memory must be 'auto' or a size such as 536870912, '512M' or '2GiB', found {value!r}",
            param="kv_memory",
        ) from None
    return n_bytes
