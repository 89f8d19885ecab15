"""Checks of a published `layerscale`, run in an environment that holds it and what it needs, and nothing else.

    python run_checks.py VERSION < world.json    prints one JSON object, see `report` there

A check names the method of the client that it is about. It is written once, for a client whose calls are awaited; the
synchronous client's run in threads, so that nothing a check waits for can be held up by another call of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
import traceback
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import layerscale
from client import KEY, Client, World, methods

SECONDS = 30.0  # for one check; most take a few milliseconds

CHECKS: list[Check] = []

Run: TypeAlias = "Callable[[Client], Awaitable[None]]"


def numbers(version: str) -> tuple[int, ...]:
    """Split a version."""
    return tuple(int(number) for number in version.split("."))


@dataclass(frozen=True)
class Check:
    """Something that a method of the client must do, in the versions that have it."""

    subject: str
    name: str
    run: Run
    since: tuple[int, ...]
    before: tuple[int, ...]

    def applies(self, names: set[str], version: tuple[int, ...]) -> bool:
        """Whether a client of that version, with those methods, has the subject."""
        if "." in self.subject and self.subject not in names:
            return False
        if self.subject[0].isupper() and not hasattr(layerscale, self.subject):
            return False
        return self.since <= version < self.before


def check(subject: str, *, since: str = "0", before: str = "1") -> Callable[[Run], Run]:
    """Register a check about `subject`: a method as `methods` lists them, an exception, or words of our own."""

    def register(run: Run) -> Run:
        CHECKS.append(Check(subject, run.__name__.replace("_", " "), run, numbers(since), numbers(before)))
        return run

    return register


async def perform(one: Check, world: World, asynchronous: bool) -> str | None:
    """Run a check; returns what was wrong."""
    called: set[str] = set()
    client = Client(world, asynchronous, called, base_url=world.urls["main"], api_key=KEY, max_retries=0)
    try:
        async with asyncio.timeout(SECONDS):
            await one.run(client)
    except Exception as error:
        here = str(Path(__file__).parent)
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.startswith(here)]
        at = [frame for frame in frames if Path(frame.filename).name not in ("harness.py", "client.py")][-1:]
        where = "".join(f" ({Path(frame.filename).name}:{frame.lineno}: {frame.line})" for frame in at)
        return f"{type(error).__name__}: {str(error)[:400]}{where}"
    finally:
        with contextlib.suppress(Exception):
            async with asyncio.timeout(SECONDS):
                await client.tidy()
    if one.subject in methods(asynchronous) and one.subject not in called:
        return f"never called {one.subject}"
    return None


def equal(found: Any, wanted: Any) -> None:
    """Fail with both values unless they are equal."""
    assert found == wanted, f"found {found!r}, wanted {wanted!r}"


async def eventually(condition: Callable[[], Awaitable[Any]], seconds: float = 20.0) -> Any:
    """Wait until an awaited condition holds, and return what it gave."""
    deadline = time.monotonic() + seconds
    while not (found := await condition()):
        assert time.monotonic() < deadline, f"not so within {seconds} s"
        await asyncio.sleep(0.01)
    return found


async def refused(kind: str, call: Awaitable[Any], **wanted: Any) -> Any:
    """Await a call that must raise one of the client's exceptions; `wanted` are attributes of it.

    A class stands for itself alone, so that the mapping of statuses is part of what is checked.
    """
    problem = None
    try:
        value = await call
    except layerscale.LayerScaleError as error:
        problem = error
    assert problem is not None, f"answered {value!r:.200}, wanted {kind}"
    assert type(problem) is getattr(layerscale, kind), f"raised {type(problem).__name__}: {problem}, wanted {kind}"
    equal({name: getattr(problem, name) for name in wanted}, wanted)
    return problem


@contextlib.contextmanager
def environment(**variables: str) -> Iterator[None]:
    """Set environment variables; none of LayerScale's is set but these."""
    before = dict(os.environ)
    for name in [name for name in before if name.startswith("LAYERSCALE_")]:
        del os.environ[name]
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
