from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import report
from bench.report import Report, Timing, compare


class Clock:
    """A clock that only contenders move."""

    def __init__(self) -> None:
        self.now_ns = 0
        self.calls: list[str] = []

    def contender(self, name: str, seconds: float):
        def run() -> None:
            self.calls.append(name)
            self.now_ns += int(seconds * 1e9)

        return run


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(report.time, "perf_counter_ns", lambda: clock.now_ns)
    return clock


def run(clock: Clock, **options) -> Report:
    contenders = {"slow": clock.contender("slow", 0.4), "fast": clock.contender("fast", 0.1)}
    return compare("sum", contenders, base="slow", params={"n": 8}, versions={"slow": "1.0"}, **options)


def test_ratios_are_against_the_base(clock: Clock) -> None:
    timings = {timing.name: timing for timing in run(clock, n_rounds=5).timings}
    assert timings["fast"].ratio == pytest.approx(4)
    assert timings["slow"].ratio == 1
    assert timings["fast"].middle == pytest.approx(0.1)
    assert timings["fast"].spread == pytest.approx((0.1, 0.1))


def test_share_of_the_limit(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    contenders = {
        "a": clock.contender("a", 0.4),
        "b": clock.contender("b", 0.2),
        "limit": clock.contender("limit", 0.1),
    }
    found = compare(
        "sum", contenders, base="a", limit="limit", params={}, versions={}, unit="rows", n_units=8, n_rounds=3
    )
    assert found.timing("a").share == pytest.approx(0.25)
    assert found.timing("b").share_spread == pytest.approx((0.5, 0.5))
    assert found.timing("limit").share is None
    found.show()
    shown = capsys.readouterr().out
    assert "rows/s" in shown
    assert "40.0" in shown


def test_a_contender_may_take_its_own_time(clock: Clock) -> None:
    contenders = {"a": clock.contender("a", 0.4), "b": lambda: 0.1}
    assert compare("sum", contenders, base="a", params={}, versions={}, n_rounds=3).timing("b").ratio == pytest.approx(
        4
    )


def test_contenders_are_interleaved_and_change_places(clock: Clock) -> None:
    run(clock, n_rounds=20, n_warmup=1)
    rounds = [tuple(clock.calls[i : i + 2]) for i in range(0, len(clock.calls), 2)]
    assert len(rounds) == 21
    assert set(rounds) == {("slow", "fast"), ("fast", "slow")}


def test_spread_is_the_quartiles() -> None:
    assert Timing("a", [1.0, 2.0, 3.0, 4.0, 5.0], 1.0, (1.0, 1.0)).spread == (2.0, 4.0)


def test_json_has_all_that_a_reader_needs(clock: Clock, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = run(clock)
    path = result.write(tmp_path / "results")
    assert path.name == "sum-n8.json"
    found = json.loads(path.read_text())
    assert found["versions"] == {"slow": "1.0"}
    assert {"cpu", "n_cpus", "isa", "kvtape", "compiler", "python", "platform"} <= set(found["machine"])
    assert len(found["timings"][0]["seconds"]) == 15
    result.show()
    shown = capsys.readouterr().out
    assert "slow 1.0" in shown
    assert "4.00" in shown


@pytest.mark.parametrize("options", [{"base": "nobody"}, {"base": "a", "n_rounds": 2}])
def test_bad_calls(options: dict) -> None:
    with pytest.raises(ValueError, match="wanted one of them, and at least 3"):
        compare("t", {"a": lambda: None}, params={}, versions={}, **options)
