"""What a token costs outside the model: the engine's own step, its Python side, and the way through the HTTP stream.

    python -m bench.stream.report [--rounds 9]

The model is one random layer of 32 dimensions. `native step` is the native engine driven by hand, model included; the
others add to it.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import kvtape
from bench.http.task import free_port, running
from bench.report import Report, compare
from bench.stream.task import N_TOKENS, PROMPT, chat_request, make_model, seconds_a_token, session_request, sessions
from kvtape.engine import AsyncEngine, AsyncSequence
from kvtape.engine.sequence import native_params
from kvtape.model.load import Model, load
from kvtape.types import SamplingParams, WorkClass

RESULTS = Path("bench/results")
STEP_SECONDS = {1: 4e-3, 16: 10.7e-3}  # streams: a decode step of SmolLM2 Q4_1, at the limit of two Zen 3 cores
GOAL_STEP_SHARE, GOAL_STREAM_SECONDS = 0.03, 1e-4
PARAMS = SamplingParams(max_tokens=N_TOKENS, ignore_eos=True)


def native_step(model: Model, n_streams: int) -> float:
    """Return seconds a token of the native engine, its tokens left where they are."""
    with kvtape.Engine(model, n_threads=1, kv_memory="64M") as engine:
        native, core = engine.core.native, engine.core
        core._deliver = lambda tokens, resident: None  # type: ignore[method-assign]
        ids = model.tokenizer.encode(PROMPT)
        opened = [engine.open() for _ in range(n_streams)]
        for sequence in opened:
            sequence.append(ids)
            native.generate(sequence.id, native_params(PARAMS, WorkClass.INTERACTIVE, model.tokenizer))
        began = time.perf_counter()
        while native.stats()["generated_tokens"] < n_streams * N_TOKENS:
            time.sleep(0.001)
        return (time.perf_counter() - began) / (n_streams * N_TOKENS)


async def through_engine(engine: AsyncEngine, n_streams: int) -> float:
    """Return seconds a token from the engine to tasks of an event loop."""
    ids = engine.model.tokenizer.encode(PROMPT)
    opened = [engine.open() for _ in range(n_streams)]

    async def read(sequence: AsyncSequence) -> None:
        sequence.append(ids)
        n_tokens = 0
        async for _ in sequence.generate(PARAMS):
            n_tokens += 1
        if n_tokens != N_TOKENS:
            raise RuntimeError(f"{n_tokens} tokens, wanted {N_TOKENS}")

    began = time.perf_counter()
    await asyncio.gather(*map(read, opened))
    took = time.perf_counter() - began
    for sequence in opened:
        sequence.close()
    return took / (n_streams * N_TOKENS)


def measure(path: Path, url: str, n_streams: int, n_rounds: int) -> Report:
    """Compare the ways of a token."""
    model = load(path)
    with kvtape.Engine(model, n_threads=1, kv_memory="64M") as blocking, sessions(url, n_streams) as ids:
        engine = AsyncEngine.wrap(blocking)
        ways: dict[str, Callable[[], float]] = {
            "native step": lambda: native_step(model, n_streams),
            "engine": lambda: asyncio.run(through_engine(engine, n_streams)),
            "chat over HTTP": lambda: seconds_a_token(url, [chat_request()] * n_streams),
            "session over HTTP": lambda: seconds_a_token(url, [session_request(id) for id in ids]),
        }
        return compare(
            "stream",
            ways,
            base="native step",
            params={"streams": n_streams, "tokens": N_TOKENS},
            versions={"kvtape": kvtape.__version__},
            n_rounds=n_rounds,
            n_warmup=1,
        )


def show_goals(report: Report) -> None:
    """Say what each layer adds to a token, and whether the goals are met."""
    n_streams = report.params["streams"]
    took = {timing.name: timing.middle for timing in report.timings}
    step, step_seconds = took["engine"] * n_streams, STEP_SECONDS[n_streams]
    verdict = "met" if step <= GOAL_STEP_SHARE * step_seconds else "MISSED"
    print(f"  engine: {step * 1e6:.1f} us a step, {step / step_seconds:.1%} of {step_seconds * 1e3:g} ms", end=", ")
    print(f"goal {GOAL_STEP_SHARE:.0%}: {verdict}")
    for name in ("chat over HTTP", "session over HTTP"):
        cost = took[name] - took["engine"]
        verdict = "met" if cost <= GOAL_STREAM_SECONDS else "MISSED"
        print(f"  {name} adds {cost * 1e6:.1f} us a token, goal {GOAL_STREAM_SECONDS * 1e6:g}: {verdict}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path, port = make_model(Path(folder)), free_port()
        command = [sys.executable, "-m", "kvtape", "serve", "--model", str(path), "--port", str(port)]
        with running([*command, "--host", "127.0.0.1", "--threads", "1", "--kv-memory", "64M"], port):
            for n_streams in STEP_SECONDS:
                report = measure(path, f"http://127.0.0.1:{port}", n_streams, args.rounds)
                report.show()
                report.write(RESULTS)
                show_goals(report)


if __name__ == "__main__":
    main()
