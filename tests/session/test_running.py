from __future__ import annotations

import math
from fractions import Fraction
from itertools import groupby

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvtape.session.running import Extreme, RunningMean, Runs, finite

batches = st.lists(st.lists(st.floats(-1e15, 1e15), max_size=6), max_size=6)


@given(batches)
def test_the_mean_of_any_batches(parts: list[list[float]]) -> None:
    mean = RunningMean()
    for part in parts:
        mean.add(np.array(part))
    values = [Fraction(value) for part in parts for value in part]
    scale = float(max(map(abs, values), default=Fraction(0)))
    assert mean.total == pytest.approx(float(sum(values)), rel=1e-15, abs=scale * 1e-15)
    assert mean.mean == (mean.total / len(values) if values else 0.0)


@pytest.mark.parametrize("smallest", [True, False])
@given(parts=batches)
def test_the_first_extreme_of_any_batches(smallest: bool, parts: list[list[float]]) -> None:
    extreme = Extreme(smallest=smallest)
    for part in parts:
        extreme.add(np.array(part))
    values = [value for part in parts for value in part]
    wanted = (min if smallest else max)(values, default=0.0)
    assert (extreme.value, extreme.index) == (wanted, values.index(wanted) if values else 0)


@given(st.lists(st.lists(st.booleans(), max_size=5), max_size=6))
def test_runs_go_on_over_batches(parts: list[list[bool]]) -> None:
    runs = Runs()
    for part in parts:
        runs.add(np.array(part, dtype=bool))
    assert runs.count == sum(1 for value, _ in groupby(flag for part in parts for flag in part) if value)


@pytest.mark.parametrize("value", [0.0, -2.5, 1e308, math.inf, -math.inf])
def test_what_json_cannot_hold_is_clamped(value: float) -> None:
    assert math.isfinite(finite(value))
    assert finite(value) == value or math.isinf(value)
    assert math.copysign(1, finite(value)) == math.copysign(1, value)
