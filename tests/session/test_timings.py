"""Histograms of durations."""

from __future__ import annotations

from kvtape.session.timings import BOUNDS, Histogram, SessionTimings


def test_a_duration_counts_in_every_bucket_that_holds_it():
    histogram = Histogram()
    for seconds in (0.0, BOUNDS[0], 0.003, BOUNDS[-1], 11.0):
        histogram.observe(seconds)
    counts = dict(zip((*BOUNDS, None), histogram.cumulative(), strict=True))
    assert counts[BOUNDS[0]] == 2
    assert (counts[0.0025], counts[0.005]) == (2, 3)
    assert (counts[BOUNDS[-1]], counts[None]) == (4, 5)
    assert histogram.sum == BOUNDS[0] + 0.003 + BOUNDS[-1] + 11.0


def test_bounds_ascend_and_there_is_a_histogram_for_each_source():
    assert list(BOUNDS) == sorted(set(BOUNDS))
    assert set(SessionTimings().question) == {"model", "flash", "ready"}
