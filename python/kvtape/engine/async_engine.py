"""The engine for an event loop: the same verbs, awaited."""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from kvtape.engine.constraints import opening_token
from kvtape.engine.core import EngineCore
from kvtape.engine.engine import Engine
from kvtape.engine.sequence import SequenceBase, merged_params, native_params
from kvtape.engine.stats import EngineStats, read_stats
from kvtape.model.load import Model
from kvtape.types import SamplingParams, TokenEvent, WorkClass

__all__ = ["AsyncEngine", "AsyncGeneration", "AsyncSequence"]


class _LoopPost:
    """Delivers to futures and queues of one event loop, which is woken once a step."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop

    def post(self, items: list[tuple[Any, TokenEvent | Exception | None]]) -> None:
        try:
            self.loop.call_soon_threadsafe(self._deliver, items)
        except RuntimeError:  # the loop is closed, and with it everybody who waited
            return

    @staticmethod
    def _deliver(items: list[tuple[Any, TokenEvent | Exception | None]]) -> None:
        for target, item in items:
            target.put_nowait(item)


class AsyncGeneration:
    """Asynchronous iterator over the events of one generation. Dropping or closing it cancels within one step."""

    def __init__(
        self, core: EngineCore, sequence: AsyncSequence, params: SamplingParams, work: WorkClass, post: _LoopPost
    ) -> None:
        self._core = core
        self._sequence = sequence  # kept open while it generates
        self._events: asyncio.Queue[TokenEvent | Exception] = asyncio.Queue()  # at most n_ctx events
        self._done = False
        self._id = core.generate(sequence.id, native_params(params, work, core.model.tokenizer), post, self._events)
        if params.constraint is not None:  # compiled beside the prompt; it raises nothing
            opening = opening_token(core.model.tokenizer, params)
            post.loop.run_in_executor(None, core.constrain, self._id, params.constraint, opening)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> TokenEvent:
        if self._done:
            raise StopAsyncIteration
        try:
            event = await self._events.get()
        except asyncio.CancelledError:  # as an asynchronous generator does, it ends where its reader is cancelled
            self.close()
            raise
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

    async def aclose(self) -> None:
        """As `close`."""
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_id"):
            self.close()


class AsyncSequence(SequenceBase):
    """A sequence of an asynchronous engine."""

    def __init__(self, engine: AsyncEngine, sequence_id: int) -> None:
        super().__init__(engine.core, sequence_id)
        self._engine = engine

    async def resident(self) -> None:
        """Wait until every token but the last has KV.

        Raises:
            SequenceLost: it never will.
        """
        while True:
            done: asyncio.Queue[Exception | None] = asyncio.Queue()
            if self._core.wait_resident(self.id, self._engine._post(), done):
                return
            failure = await done.get()
            if failure is not None:
                raise failure

    def generate(
        self, params: SamplingParams | None = None, *, work: WorkClass = WorkClass.INTERACTIVE, **options: Any
    ) -> AsyncGeneration:
        """Start to generate at once; `async for` gives one `TokenEvent` a token. See `Sequence.generate`.

        A constraint that cannot be enforced is an `InvalidRequest` of the iteration, before the first token.
        """
        return AsyncGeneration(self._core, self, merged_params(params, options), work, self._engine._post())

    def fork(self) -> AsyncSequence:
        """Return a sequence with the same tokens that shares their KV."""
        return AsyncSequence(self._engine, self._core.native.fork(self.id))


class AsyncEngine:
    """One model on one device, for an event loop. Arguments and errors as `Engine`."""

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
        self._posts: dict[asyncio.AbstractEventLoop, _LoopPost] = {}

    @classmethod
    def wrap(cls, engine: Engine) -> AsyncEngine:
        """Return the asynchronous face of a blocking engine; both run on the same core."""
        self = cls.__new__(cls)
        self.core = engine.core
        self._posts = {}
        return self

    def _post(self) -> _LoopPost:
        loop = asyncio.get_running_loop()
        if loop not in self._posts:
            self._posts = {known: post for known, post in self._posts.items() if not known.is_closed()}
            self._posts[loop] = _LoopPost(loop)
        return self._posts[loop]

    @property
    def model(self) -> Model:
        """The model it runs."""
        return self.core.model

    @property
    def n_ctx(self) -> int:
        """Longest sequence, in tokens."""
        return self.core.n_ctx

    def open(self) -> AsyncSequence:
        """Return a new, empty sequence.

        Raises:
            Overloaded: too many are open.
        """
        return AsyncSequence(self, self.core.native.open())

    def together(self) -> AbstractContextManager[None]:
        """Let what a `with` block submits run in one step: none begins before it ends. It must not wait for any."""
        return self.core.together()

    def stats(self) -> EngineStats:
        """Return the engine's counters."""
        return read_stats(self.core)

    async def aclose(self) -> None:
        """Shut down: running generations end with `EngineFailed`. Idempotent."""
        await asyncio.get_running_loop().run_in_executor(None, self.core.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()
