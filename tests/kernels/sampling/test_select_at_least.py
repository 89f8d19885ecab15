import numpy as np
import pytest

from kvtape.ops.sampling import select_at_least


@pytest.mark.parametrize("n", [1, 7, 8, 9, 31, 32, 33, 39, 40, 41, 64, 1000])
@pytest.mark.parametrize("least", [-np.inf, -1.0, 0.0, 1.5, np.inf])
def test_matches_numpy(isa, n, least, rng):
    x = rng.standard_normal(n, dtype=np.float32)
    x[rng.random(n) < 0.2] = np.nan
    x[rng.random(n) < 0.1] = np.inf
    x[rng.random(n) < 0.1] = np.float32(least)
    assert select_at_least(x, least=least, isa=isa).tolist() == np.flatnonzero(x >= np.float32(least)).tolist()


def test_what_lies_past_the_end_is_not_selected(isa):
    row = np.zeros(64, np.float32)
    for n in range(1, 34):
        assert select_at_least(row[:n], least=0.0, isa=isa).tolist() == list(range(n))
