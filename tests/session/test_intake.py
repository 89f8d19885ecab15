"""The queue in front of a context, against a plain list."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvtape.session import intake as module
from kvtape.session.intake import Intake
from kvtape.session.row_types import ROW_TYPES
from kvtape.session.spec import OVERFLOWS

OHLCV = ROW_TYPES["ohlcv"]
VITALS = ROW_TYPES["vitals"]


def candles(numbers, symbols=None):
    rows = np.zeros(len(numbers), OHLCV.dtype)
    rows["c"] = numbers
    rows["sym"] = 0 if symbols is None else symbols
    return rows


def taken(entries):
    return entries if isinstance(entries, list) else entries["c"].tolist()


def drain(intake, max_entries=1000):
    found = []
    while len(entries := intake.take(max_entries, 1 << 20)):
        found += taken(entries)
    return found


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(module, "RING_CAPACITY", 8)
    monkeypatch.setattr(module, "MAX_TEXTS", 4)
    monkeypatch.setattr(module, "MAX_TEXT_BYTES", 100)


@given(
    st.lists(st.one_of(st.integers(0, 5), st.lists(st.text(max_size=3), max_size=4)), max_size=12),
    st.integers(1, 7),
)
def test_rows_and_texts_keep_their_order(pushes, max_entries):
    intake, wanted = Intake(OHLCV, "drop_newest"), []
    for push in pushes:
        if isinstance(push, int):
            numbers = [float(len(wanted) + i) for i in range(push)]
            assert intake.put_rows(candles(numbers)) == push
            wanted += numbers
        else:
            assert intake.put_texts(push) == len(push)
            wanted += push
    assert len(intake) == intake.n_accepted == len(wanted)
    assert drain(intake, max_entries) == wanted
    assert len(intake) == intake.n_bytes == intake.n_lost == 0


@pytest.mark.parametrize("policy", ["drop_newest", "block"])
def test_what_does_not_fit_is_refused(small, policy):
    intake = Intake(OHLCV, policy)
    assert intake.put_rows(candles(range(10))) == 8
    assert intake.put_texts(["a", "b", "c", "d", "e"]) == 4
    assert (intake.n_accepted, intake.n_lost, intake.room) == (12, 0, 0)
    assert drain(intake) == [*range(8), "a", "b", "c", "d"]
    assert intake.put_texts(["x" * 60, "x" * 60]) == 1


def test_the_oldest_make_room(small):
    intake = Intake(OHLCV, "drop_oldest")
    assert intake.put_rows(candles(range(10))) == 10
    assert intake.put_texts(["a", "b", "c", "d", "e"]) == 5
    assert (intake.n_accepted, intake.n_lost) == (15, 3)
    assert drain(intake) == [*range(2, 10), "b", "c", "d", "e"]
    assert intake.put_texts(["x" * 60, "y" * 60]) == 2
    assert drain(intake) == ["y" * 60]


def test_rows_that_overflow_behind_a_text_do_not_hold_it_back(small):
    intake = Intake(OHLCV, "drop_oldest")
    intake.put_rows(candles(range(3)))
    intake.put_texts(["a"])
    intake.put_rows(candles(range(10, 20)))
    assert drain(intake) == ["a", *range(12, 20)]


def test_of_each_series_the_newest_row_waits():
    intake = Intake(OHLCV, "conflate")
    assert intake.put_rows(candles([1, 2, 3, 4, 5], [0, 1, 0, 2, 1])) == 5
    assert (len(intake), intake.n_accepted, intake.n_lost) == (3, 5, 2)
    assert drain(intake) == [3, 4, 5]
    intake.put_rows(candles([6], [0]))
    intake.put_texts(["a"])  # what waits in front of a text stays there
    intake.put_rows(candles([7], [0]))
    assert drain(intake) == [6, "a", 7]


def test_without_series_one_row_waits():
    intake = Intake(VITALS, "conflate")
    intake.put_rows(np.zeros(5, VITALS.dtype))
    assert (len(intake), intake.n_lost) == (1, 4)


@pytest.mark.parametrize("policy", OVERFLOWS)
@given(pushes=st.lists(st.integers(-3, 9), max_size=20))
def test_nothing_is_lost_uncounted(policy, pushes):
    n_offered = n_taken = n_refused = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "RING_CAPACITY", 8)
        patch.setattr(module, "MAX_TEXTS", 4)
        intake = Intake(OHLCV, policy)
        for push in pushes:
            if push < 0:
                n_taken += len(intake.take(-push, 100))
                continue
            n_offered += 2 * push
            n_refused += push - intake.put_rows(candles(range(push), [i % 3 for i in range(push)]))
            n_refused += push - intake.put_texts(["t"] * push)
        assert n_offered == n_refused + n_taken + intake.n_lost + len(intake)
        assert n_offered == n_refused + intake.n_accepted


def test_texts_are_taken_by_bytes_but_one_at_least():
    intake = Intake(None, "drop_oldest")
    intake.put_texts(["x" * 60, "y" * 30, "z" * 30])
    assert intake.take(10, 50) == ["x" * 60]
    assert intake.take(10, 50) == ["y" * 30]
    assert intake.n_bytes == 30
    assert intake.take(10, 50) == ["z" * 30]
    assert intake.take(10, 50) == []
