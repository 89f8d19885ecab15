"""`kvtape bench`: how fast a model runs on this machine."""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from statistics import median, quantiles
from typing import TYPE_CHECKING, Any

from kvtape.cli.engine_flags import add_engine_flags, engine_options
from kvtape.errors import InvalidRequest

if TYPE_CHECKING:
    from kvtape.engine import Engine, Sequence

HELP = "measure how fast a model reads and generates on this machine"

MAX_SECONDS = 60.0  # no further round begins then, once each job has had three
MIN_ROUNDS = 3
DECODE_TOKENS = 32


@dataclass(frozen=True)
class Result:
    """One line of the table."""

    job: str  # "prefill" or "decode"
    tokens: int  # read or generated in one round, all sequences together
    depth: int  # tokens of context before them
    batch: int  # sequences at once
    seconds: list[float]  # a round each

    @property
    def rate(self) -> float:
        """Tokens a second: the median of the rounds."""
        return self.tokens / median(self.seconds)

    @property
    def spread(self) -> tuple[float, float]:
        """The quartiles of the rates, slow one first."""
        low, _, high = quantiles(self.seconds, n=4, method="inclusive")
        return self.tokens / high, self.tokens / low


def configure(parser: argparse.ArgumentParser) -> None:
    """Add what is measured."""
    add_engine_flags(parser)
    parser.add_argument(
        "--prompt", type=int, nargs="+", default=[64, 512], metavar="N", help="prompts to read, in tokens; 64 512"
    )
    parser.add_argument(
        "--depth", type=int, nargs="+", default=[0, 512], metavar="N", help="contexts to generate after; 0 512"
    )
    parser.add_argument(
        "--batch", type=int, nargs="+", default=[1, 8], metavar="N", help="sequences that generate at once; 1 8"
    )
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="rounds of every job; 5, at least 3")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def run(args: argparse.Namespace) -> int:
    """Measure, and print the table or JSON."""
    for name, least in (("prompt", 1), ("depth", 0), ("batch", 1)):
        if min(getattr(args, name)) < least:
            raise InvalidRequest(f"--{name} must be at least {least}, found {min(getattr(args, name))}", param=name)
    if args.rounds < MIN_ROUNDS:
        raise InvalidRequest(f"--rounds must be at least {MIN_ROUNDS}, found {args.rounds}", param="rounds")

    from kvtape.engine import Engine

    began = time.perf_counter()
    with Engine(args.model, **engine_options(args)) as engine:
        load_seconds = time.perf_counter() - began
        longest = max([*args.prompt, *(depth + DECODE_TOKENS + 1 for depth in args.depth)])
        if longest > engine.n_ctx:
            raise InvalidRequest(f"{longest} tokens are wanted, the context has {engine.n_ctx}", param="depth")
        results = measure(engine, args.prompt, args.depth, args.batch, args.rounds, MAX_SECONDS)
        about = describe(engine, load_seconds)
    if args.json:
        rows = [asdict(result) | {"tokens_per_second": result.rate, "spread": result.spread} for result in results]
        print(json.dumps({**about, "results": rows}, indent=1))
    else:
        show(about, results)
    return 0


def measure(
    engine: Engine, prompts: list[int], depths: list[int], batches: list[int], n_rounds: int, max_seconds: float
) -> list[Result]:
    """Run all jobs in turn, round by round, so that a machine that slows down slows all of them."""
    from rich.console import Console
    from rich.progress import Progress

    draw = random.Random(0)
    jobs: list[tuple[Result, Callable[[], float]]] = []
    console = Console(stderr=True)
    # Drawn between jobs, never inside one: a bar that draws itself takes time from what is measured.
    with Progress(console=console, transient=True, auto_refresh=False, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=(len(prompts) + len(depths) * len(batches)) * (2 + n_rounds))

        def say(what: str, n_done: int) -> None:
            bar.update(task, description=what, advance=n_done)
            bar.refresh()

        for n in prompts:
            jobs.append((Result("prefill", n, 0, 1, []), partial(_prefill, engine, draw, n)))
        say("reading contexts", len(prompts))
        for depth in depths:
            for batch in batches:
                held = [_hold(engine, _ids(engine, draw, depth)) for _ in range(batch)]
                jobs.append((Result("decode", DECODE_TOKENS * batch, depth, batch, []), partial(_decode, held, draw)))
                say("reading contexts", 1)
        for _, job in jobs:
            job()
            say("warming up", 1)
        deadline = time.perf_counter() + max_seconds
        for i in range(n_rounds):
            if i >= MIN_ROUNDS and time.perf_counter() > deadline:
                break
            for result, job in jobs:
                result.seconds.append(job())
                say(f"round {i + 1} of {n_rounds}", 1)
    return [result for result, _ in jobs]


def _ids(engine: Engine, draw: random.Random, n: int) -> list[int]:
    return draw.choices(range(engine.model.n_vocab), k=n)


def _prefill(engine: Engine, draw: random.Random, n: int) -> float:
    sequence, ids = engine.open(), _ids(engine, draw, n)  # new ids each time: no prefix cache can help
    begin = time.perf_counter()
    sequence.append(ids)
    next(sequence.generate(max_tokens=1, ignore_eos=True))
    seconds = time.perf_counter() - begin
    sequence.close()
    return seconds


def _hold(engine: Engine, ids: list[int]) -> Sequence:
    sequence = engine.open()
    sequence.append([*ids, 0])
    sequence.resident()
    sequence.truncate(len(ids))
    return sequence


def _decode(held: list[Sequence], draw: random.Random) -> float:
    """Generate after what is held, which stays."""
    sequences = [sequence.fork() for sequence in held]
    begin = time.perf_counter()
    for sequence in sequences:
        sequence.append([draw.randrange(256)])
    for generation in [each.generate(max_tokens=DECODE_TOKENS, ignore_eos=True, speculate=False) for each in sequences]:
        for _ in generation:
            pass
    seconds = time.perf_counter() - begin
    for sequence in sequences:
        sequence.close()
    return seconds


def describe(engine: Engine, load_seconds: float) -> dict[str, Any]:
    """Return what a reader needs to make sense of the figures."""
    import platform

    from kvtape import __version__
    from kvtape._native import _core
    from kvtape.engine.stats import huge_page_bytes

    return {
        "kvtape": __version__,
        "model": engine.model.name,
        "weights_bytes": engine.model.size_bytes,
        "threads": engine.core.n_threads,
        "isa": _core.active_isa(),
        "machine": platform.machine(),
        "load_seconds": load_seconds,
        "huge_page_bytes": huge_page_bytes(),
    }


def show(about: dict[str, Any], results: list[Result]) -> None:
    """Print the table."""
    from rich.console import Console
    from rich.table import Table

    threads = f"{about['threads']} thread{'s' * (about['threads'] != 1)}"
    table = Table(
        title=f"{about['model']}, {about['weights_bytes'] / 1e6:.0f} MB of weights, {threads}, {about['isa']}"
    )
    for heading in ("job", "tokens", "after", "sequences", "tokens/s", "quartiles"):
        table.add_column(heading, justify="left" if heading == "job" else "right")
    for result in results:
        low, high = result.spread
        counts = (str(result.tokens // result.batch), str(result.depth), str(result.batch))
        table.add_row(result.job, *counts, f"{result.rate:,.1f}", f"{low:,.1f} .. {high:,.1f}")
    console = Console()
    console.print(table)
    words = [f"kvtape {about['kvtape']}", f"loaded in {about['load_seconds']:.2f} s"]
    if about["huge_page_bytes"] is not None:
        words.append(f"{about['huge_page_bytes'] / 1e6:.0f} MB on huge pages")
    console.print("; ".join([*words, f"{len(results[0].seconds)} rounds"]))
