from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvtape.data import load_candles
from kvtape.session.row_types import OHLCV, ROW_TYPES
from kvtape.session.rows import NameTables, parse_rows
from kvtape.session.stats import STATS, OhlcvStats

EMPTY = {
    "type": "ohlcv",
    "count": 0,
    "max_high": 0.0,
    "max_high_index": 0,
    "min_low": 0.0,
    "min_low_index": 0,
    "max_volume": 0.0,
    "first_open": 0.0,
    "last_close": 0.0,
    "avg_close": 0.0,
    "change": 0.0,
    "change_pct": 0.0,
}


def expected(rows: np.ndarray) -> dict[str, object]:
    """The formulas of the wire specification, over all rows at once."""
    first_open, last_close = float(rows["o"][0]), float(rows["c"][-1])
    change = last_close - first_open
    return {
        "type": "ohlcv",
        "count": len(rows),
        "max_high": rows["h"].max(),
        "max_high_index": rows["h"].tolist().index(rows["h"].max()),
        "min_low": rows["l"].min(),
        "min_low_index": rows["l"].tolist().index(rows["l"].min()),
        "max_volume": rows["v"].max(),
        "first_open": first_open,
        "last_close": last_close,
        "avg_close": pytest.approx(float(sum(map(Fraction, rows["c"].tolist())) / len(rows)), rel=1e-15, abs=1e-300),
        "change": change,
        "change_pct": 100 * change / first_open if first_open else 0.0,
    }


def test_before_the_first_row() -> None:
    stats = OhlcvStats({})
    assert stats.summary() == EMPTY
    stats.add(np.zeros(0, OHLCV))
    assert stats.summary() == EMPTY


@pytest.mark.parametrize("batch", [1, 7, 693])
def test_real_candles(batch: int) -> None:
    rows = load_candles("GOOG")
    stats = OhlcvStats({})
    for begin in range(0, len(rows), batch):
        stats.add(rows[begin : begin + batch])
    assert stats.summary() == expected(rows)


values = st.integers(-1000, 1000).map(lambda n: n / 8)  # exact sums, many ties


@settings(max_examples=200, deadline=None)
@given(
    table=st.lists(st.tuples(*[values] * 5), min_size=1, max_size=30),
    cuts=st.lists(st.integers(0, 30), max_size=4).map(sorted),
)
def test_any_batches(table: list[tuple[float, ...]], cuts: list[int]) -> None:
    rows = np.zeros(len(table), OHLCV)
    for name, column in zip("ohlcv", zip(*table, strict=True), strict=True):
        rows[name] = column
    stats = OhlcvStats({})
    for batch in np.split(rows, cuts):
        stats.add(batch)
    assert stats.summary() == expected(rows)


def test_average_survives_a_long_day() -> None:
    rows = np.zeros(1, OHLCV)
    stats = OhlcvStats({})
    rows["c"] = 1e15
    stats.add(rows)
    rows["c"] = 0.1
    for _ in range(20_000):
        stats.add(rows)
    exact = (Fraction(1e15) + 20_000 * Fraction(0.1)) / 20_001
    assert stats.summary()["avg_close"] == pytest.approx(float(exact), rel=1e-15)


def test_a_change_that_no_number_holds_is_clamped() -> None:
    rows = np.zeros(1, OHLCV)
    rows["o"], rows["c"] = 5e-324, 1e15
    stats = OhlcvStats({})
    stats.add(rows)
    assert stats.summary()["change_pct"] == np.finfo(np.float64).max


# -- the other types ---------------------------------------------------------------------------------------------------

BEFORE = {
    "iot": {
        "type": "iot", "count": 0, "last_sensor": "", "last_value": 0.0, "min_value": 0.0, "max_value": 0.0,
        "avg_value": 0.0, "threshold_breaches": 0, "breach_rate": 0.0,
    },
    "spatial": {
        "type": "spatial", "count": 0, "current_position": {"x": 0.0, "y": 0.0, "z": 0.0}, "current_speed": 0.0,
        "current_heading": 0.0, "total_distance": 0.0, "max_speed": 0.0, "avg_speed": 0.0, "max_turn_rate": 0.0,
    },
    "event": {
        "type": "event", "count": 0, "total_event_count": 0, "max_severity": 0, "critical_events": 0,
        "unique_sources": 0, "unique_categories": 0, "top_category": "", "top_category_count": 0,
    },
    "vitals": {
        "type": "vitals", "count": 0, "current": {"hr": 0.0, "bp": "", "spo2": 0.0, "temp": 0.0, "map": 0.0},
        "avg_heart_rate": 0.0, "avg_map": 0.0, "min_spo2": 0.0, "max_temp": 0.0,
        "alerts": {
            "tachycardia_episodes": 0, "bradycardia_episodes": 0, "hypoxia_episodes": 0, "fever_episodes": 0,
        },
    },
}  # fmt: skip


def summary_of(name: str, data: list[dict[str, Any]], cuts: Sequence[int] = ()) -> dict[str, Any]:
    tables = NameTables(ROW_TYPES[name])
    stats = STATS[name](tables)
    for batch in np.split(parse_rows(ROW_TYPES[name], data, tables), cuts):
        stats.add(batch)
    return stats.summary()


@pytest.mark.parametrize("name", BEFORE)
def test_every_figure_is_there_before_the_first_row(name: str) -> None:
    assert summary_of(name, []) == BEFORE[name]


def mean(values: Sequence[float]) -> Any:
    largest = max(map(abs, values))  # what cancels out has been rounded at its size
    return pytest.approx(float(sum(map(Fraction, values)) / len(values)), rel=1e-15, abs=max(largest * 1e-15, 1e-300))


cuts_of = st.lists(st.integers(0, 20), max_size=4).map(sorted)
eighths = st.integers(-1000, 1000).map(lambda n: n / 8)


@settings(max_examples=100, deadline=None)
@given(
    table=st.lists(st.tuples(st.sampled_from("abc"), eighths, eighths, eighths), min_size=1, max_size=20), cuts=cuts_of
)
def test_sensor_readings(table: list[tuple[str, float, float, float]], cuts: list[int]) -> None:
    data = [dict(zip(("sid", "val", "lo", "hi"), row, strict=True)) for row in table]
    value, low, high = np.array([row[1:] for row in table]).T
    n_breaches = int(((value < low) | (value > high)).sum())
    assert summary_of("iot", data, cuts) == {
        "type": "iot", "count": len(table), "last_sensor": table[-1][0], "last_value": value[-1],
        "min_value": value.min(), "max_value": value.max(), "avg_value": mean(value.tolist()),
        "threshold_breaches": n_breaches, "breach_rate": n_breaches / len(table),
    }  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(table=st.lists(st.tuples(*[eighths] * 5, st.none() | st.integers(-3, 3)), min_size=1, max_size=20), cuts=cuts_of)
def test_positions(table: list[tuple[Any, ...]], cuts: list[int]) -> None:
    data = [dict(zip(("x", "y", "z", "spd", "hdg", "timestamp"), row, strict=True)) for row in table]
    x, y, z, speed, heading = np.array([row[:5] for row in table], dtype=float).T
    steps = np.sqrt(np.diff(x) ** 2 + np.diff(y) ** 2 + np.diff(z) ** 2)
    rates = []
    for one, other in pairwise(table):
        turn = abs(math.remainder(other[4] - one[4], 360))
        known = one[5] is not None and other[5] is not None
        rates.append(turn / max(abs(other[5] - one[5]), 1) if known else turn)
    assert summary_of("spatial", data, cuts) == {
        "type": "spatial", "count": len(table), "current_position": {"x": x[-1], "y": y[-1], "z": z[-1]},
        "current_speed": speed[-1], "current_heading": heading[-1],
        "total_distance": pytest.approx(math.fsum(steps), rel=1e-15), "max_speed": speed.max(),
        "avg_speed": mean(speed.tolist()), "max_turn_rate": max(rates, default=0.0),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "rate"),
    [
        ([(350, None), (10, None)], 20.0),  # over north
        ([(10, 0), (350, 10)], 2.0),
        ([(0, 0), (180, 1)], 180.0),
        ([(0, 0), (181, None)], 179.0),  # a time is missing: per row
        ([(0, 5), (90, 5)], 90.0),  # less than a second, counted as one
        ([(0, 10), (90, 0)], 9.0),  # back in time
        ([(0, None)], 0.0),
    ],
)
def test_turns_take_the_short_way(rows: list[tuple[float, int | None]], rate: float) -> None:
    data = [{"x": 0, "y": 0, "z": 0, "spd": 0, "hdg": heading, "timestamp": time} for heading, time in rows]
    assert summary_of("spatial", data)["max_turn_rate"] == rate


@settings(max_examples=100, deadline=None)
@given(
    table=st.lists(
        st.tuples(st.sampled_from("ab"), st.integers(-5, 9), st.sampled_from("xyz"), st.integers(-2, 3)),
        min_size=1,
        max_size=20,
    ),
    cuts=cuts_of,
)
def test_events(table: list[tuple[str, int, str, int]], cuts: list[int]) -> None:
    data = [dict(zip(("src", "sev", "cat", "cnt"), row, strict=True)) for row in table]
    totals: dict[str, int] = {}
    for _, _, category, count in table:
        totals[category] = totals.get(category, 0) + count
    top = next(category for category in totals if totals[category] == max(totals.values()))
    assert summary_of("event", data, cuts) == {
        "type": "event", "count": len(table), "total_event_count": sum(row[3] for row in table),
        "max_severity": max(row[1] for row in table), "critical_events": sum(row[1] >= 4 for row in table),
        "unique_sources": len({row[0] for row in table}), "unique_categories": len(totals),
        "top_category": top, "top_category_count": totals[top],
    }  # fmt: skip


def test_counts_of_events_do_not_overflow() -> None:
    data = [{"src": "a", "sev": 10**15, "cat": "c", "cnt": 10**15}] * 20_000
    figures = summary_of("event", data)
    assert (figures["total_event_count"], figures["max_severity"]) == (20_000 * 10**15, 10**15)


@settings(max_examples=100, deadline=None)
@given(
    table=st.lists(
        st.tuples(
            st.sampled_from([59.0, 60.0, 100.0, 100.5]), eighths, eighths, st.sampled_from([89.0, 90.0]),
            st.sampled_from([37.9, 38.0]),
        ),
        min_size=1,
        max_size=20,
    ),
    cuts=cuts_of,
)  # fmt: skip
def test_vital_signs(table: list[tuple[float, ...]], cuts: list[int]) -> None:
    data = [dict(zip(("hr", "bp_s", "bp_d", "spo2", "temp"), row, strict=True)) for row in table]
    heart, systolic, diastolic, spo2, temp = np.array(table).T
    pressure = diastolic + (systolic - diastolic) / 3

    def episodes(over: np.ndarray) -> int:
        return int(np.count_nonzero(over & ~np.concatenate([[False], over[:-1]])))

    found = summary_of("vitals", data, cuts)
    shown = found["current"].pop("bp").split("/")
    assert [float(value) for value in shown] == [systolic[-1], diastolic[-1]]
    assert not any(value.endswith(".0") for value in shown)
    assert found == {
        "type": "vitals", "count": len(table),
        "current": {"hr": heart[-1], "spo2": spo2[-1], "temp": temp[-1], "map": pressure[-1]},
        "avg_heart_rate": mean(heart.tolist()), "avg_map": mean(pressure.tolist()),
        "min_spo2": spo2.min(), "max_temp": temp.max(),
        "alerts": {
            "tachycardia_episodes": episodes(heart > 100), "bradycardia_episodes": episodes(heart < 60),
            "hypoxia_episodes": episodes(spo2 < 90), "fever_episodes": episodes(temp >= 38),
        },
    }  # fmt: skip


def test_the_documented_vital_signs() -> None:
    row = {"hr": 72, "bp_s": 120, "bp_d": 80, "spo2": 98.5, "temp": 36.8}
    current = summary_of("vitals", [row])["current"]
    assert current == {"hr": 72.0, "bp": "120/80", "spo2": 98.5, "temp": 36.8, "map": 80 + 40 / 3}
