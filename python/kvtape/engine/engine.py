"""The blocking engine."""

from __future__ import annotations

import queue
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from kvtape.engine.constraints import compile_constraint, opening_token
from kvtape.engine.core import EngineCore
from kvtape.engine.sequence import SequenceBase, merged_params, native_params
from kvtape.engine.stats import EngineStats, read_stats
from kvtape.model.load import Model
from kvtape.types import SamplingParams, TokenEvent, WorkClass

__all__ = ["Engine", "Generation", "Sequence"]


class _Post:
    """Delivers to queues, from the engine thread."""

    def post(self, items: list[tuple[Any, TokenEvent | Exception | None]]) -> None:
        for target, item in items:
            target.put(item)


_POST = _Post()


class Generation:
    """Iterator over the events of one generation, one a token. Dropping or closing it cancels within one step."""

    def __init__(self, core: EngineCore, sequence: Sequence, params: SamplingParams, work: WorkClass) -> None:
        self._core = core
        self._sequence = sequence  # kept open while it generates
        self._events: queue.SimpleQueue[TokenEvent | Exception] = queue.SimpleQueue()  # at most n_ctx events
        self._done = False
        guide = None
        if params.constraint is not None:
            opening = opening_token(core.model.tokenizer, params)
            guide = compile_constraint(core.model, params.constraint, opening)
        self._id = core.generate(sequence.id, native_params(params, work, core.model.tokenizer), _POST, self._events)
        if guide is not None:
            core.guide(self._id, guide)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> TokenEvent:
        if self._done:
            raise StopIteration
        event = self._events.get()
        if isinstance(event, Exception):
            self._done = True
            raise event
        self._done = event.finished
        return event

    def close(self) -> None:
        """Cancel, if it has not ended. Idempotent."""
        if not self._done:
            self._done = True
            self._core.cancel(self._id)

    def __del__(self) -> None:
        if hasattr(self, "_id"):
            self.close()


class Sequence(SequenceBase):
    """A sequence of a blocking engine."""

    def resident(self) -> None:
        """Wait until every token but the last has KV.

        Raises:
            SequenceLost: it never will.
        """
        while True:
            done: queue.SimpleQueue[Exception | None] = queue.SimpleQueue()
            if self._core.wait_resident(self.id, _POST, done):
                return
            failure = done.get()
            if failure is not None:
                raise failure

    def generate(
        self, params: SamplingParams | None = None, *, work: WorkClass = WorkClass.INTERACTIVE, **options: Any
    ) -> Generation:
        """Start to generate; iterate for one `TokenEvent` a token. Generated ids join the sequence.

        Args:
            params: sampling parameters; or give their fields as keyword options.
            work: who goes first when the engine is busy.

        Raises:
            InvalidRequest: a parameter is out of bounds, the constraint cannot be enforced, or the sequence is empty.
            ContextOverflow: the context is full.
            Conflict: the sequence is generating already.
        """
        return Generation(self._core, self, merged_params(params, options), work)

    def fork(self) -> Sequence:
        """Return a sequence with the same tokens that shares their KV."""
        return Sequence(self._core, self._core.native.fork(self.id))


class Engine:
    """One model on one device, with blocking verbs.

    Args:
        model: a `Model`, an alias of the registry, a path to a `.gguf`, or `hf:owner/repo/file.gguf`.
        n_ctx: longest sequence, in tokens; None: what model and KV memory allow.
        kv_memory: bytes of KV cache, or "512M" and the like; "auto": min(a quarter of the memory, 4 GiB).
        kv_type: how K and V are stored: "f16", or "q8_0": 0.53 of the memory and faster in long contexts, at a small
            cost in quality.
        n_threads: threads of a step; None: all cores this process may use.
        isa: instruction set of the kernels; None: the best, or what KVTAPE_ISA says.

    Raises:
        InvalidRequest: an argument cannot be honoured.
        NotFound, ModelError: as `kvtape.model.load.load`.
    """

    def __init__(
        self,
        model: str | Path | Model,
        *,
        n_ctx: int | None = None,
        kv_memory: int | str = "auto",
        kv_type: str = "f16",
        n_threads: int | None = None,
        isa: str | None = None,
    ) -> None:
        self.core = EngineCore(model, n_ctx=n_ctx, kv_memory=kv_memory, kv_type=kv_type, n_threads=n_threads, isa=isa)

    @property
    def model(self) -> Model:
        """The model it runs."""
        return self.core.model

    @property
    def n_ctx(self) -> int:
        """Longest sequence, in tokens."""
        return self.core.n_ctx

    def open(self) -> Sequence:
        """Return a new, empty sequence.

        Raises:
            Overloaded: too many are open.
        """
        return Sequence(self.core, self.core.native.open())

    def together(self) -> AbstractContextManager[None]:
        """Let what a `with` block submits run in one step: none begins before it ends. It must not wait for any."""
        return self.core.together()

    def stats(self) -> EngineStats:
        """Return the engine's counters."""
        return read_stats(self.core)

    def close(self) -> None:
        """Shut down: running generations end with `EngineFailed`. Idempotent."""
        self.core.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
