"""The soak's own checks: what grows, is missed or miscounted is found; and a moment of the real thing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

from bench.soak.process import Sample, read_sample, served
from bench.soak.report import OPTIONS, judge, plot
from bench.soak.task import Load, Spec, _Session


def samples(rss: Callable[[int], float], n_fds: Callable[[int], int] = lambda i: 50) -> list[Sample]:
    return [Sample(float(i), rss(i), n_fds(i) + i % 60, 10, 20 + i % 60) for i in range(600)]


def test_what_grows_is_found() -> None:
    assert judge(samples(lambda i: 200 + i % 3))[1] == []
    assert judge(samples(lambda i: 200 + min(i, 100)))[1] == []  # only at the beginning
    figures, wrong = judge(samples(lambda i: 200 + i / 50))
    assert abs(figures["RSS MB an hour"] - 72) < 1
    assert wrong == ["memory grew by 9.0 MB"]
    assert judge(samples(lambda i: 200, lambda i: 50 + i // 4))[1] == [
        "open files beyond the clients' grew from 86 to 161"
    ]


def test_events_that_are_missed_are_found() -> None:
    load = Load("http://127.0.0.1:1", Spec())
    session = _Session(load, 0)
    for name, number in [("connected", 4), ("flash_ready", None), ("data_updated", 5), ("connected", 5)]:
        session._take(name, number)
    assert load.problems == []
    session._take("data_updated", 7)
    session._take("connected", 9)
    assert load.problems == ["event 7 (data_updated) after 5", "event 9 (connected) after 7"]


def test_plots_are_one_line() -> None:
    assert plot([1.0, 2.0, 3.0]) == "▁▄█  1 .. 3"
    assert plot([5.0] * 200).startswith("▁" * 72)


async def run_until(load: Load, condition: Callable[[], bool]) -> None:
    running = asyncio.create_task(load.run())
    deadline = time.monotonic() + 120
    while not condition() and not load.problems and time.monotonic() < deadline:
        await asyncio.sleep(0.05)
    load.ending = True
    await running


def test_a_moment_of_it(make_tiny_model: Callable[..., Path], tmp_path: Path) -> None:
    model = make_tiny_model(n_layers=1, n_ctx=2048)
    with (tmp_path / "log").open("wb") as log, served(model, log, *OPTIONS) as (url, pid):
        load = Load(url, Spec(n_sessions=4, session_seconds=0.5, reader_seconds=0.3, question_seconds=0.1))
        wanted = {
            "sessions settled",
            "readers that broke off",
            "questions",
            "data_updated events",
            "flash_ready events",
        }
        asyncio.run(run_until(load, lambda: not wanted - load.seen.keys() and load.seen["sessions created"] > 4))
        assert read_sample(pid).n_threads > 1
    assert load.problems == []
    assert load.seen["sessions created"] == load.seen["sessions deleted"]
    assert load.total.n_sent == load.total.n_pushed + load.total.n_dropped > 0
