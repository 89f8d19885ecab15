import numpy as np
import pytest

from kvtape.ops.sampling import exp_weights
from tests.reference.tolerance import assert_as_good_as_naive


@pytest.mark.parametrize("n", [1, 7, 8, 9, 15, 16, 17, 25, 511, 512, 513, 520, 1537])
@pytest.mark.parametrize("s", [1.0, 0.01, 20.0])
def test_matches_float64(isa, n, s, rng):
    x = rng.standard_normal(n, dtype=np.float32) * 4
    m = float(x.max())
    w, sums = exp_weights(x, m=m, s=s, isa=isa)
    exact = np.exp((x.astype(np.float64) - m) * np.float64(np.float32(s)))
    naive = np.exp((x - np.float32(m)) * np.float32(s))
    assert_as_good_as_naive(w, naive, exact)
    runs = [slice(i, i + 512) for i in range(0, n, 512)]
    exact_sums = np.array([exact[run].sum() for run in runs])
    naive_sums = np.array([np.cumsum(naive[run])[-1] for run in runs])
    assert_as_good_as_naive(sums, naive_sums, exact_sums)


@pytest.mark.parametrize("n", [1, 3, 8, 12, 16, 24, 31, 512, 519, 530, 1000])
def test_isas_agree(n, rng):
    x = rng.standard_normal(n, dtype=np.float32) * 30
    x[:: max(n // 5, 2)] = rng.choice([-np.inf, np.nan, -1e9, 0.0], len(x[:: max(n // 5, 2)]))
    with np.errstate(invalid="ignore"):
        m = float(np.nanmax(np.append(x, np.float32(0))))
    answers = {tuple(a.tobytes() for a in exp_weights(x, m=m, s=0.7, isa=isa)) for isa in ("ref", None)}
    assert len(answers) == 1


def test_hard_values(isa):
    x = np.array([3.0, -np.inf, np.nan, -1e30, 3.0, -84.0], np.float32)
    w, sums = exp_weights(x, m=3.0, s=1.0, isa=isa)
    np.testing.assert_array_equal(w, np.array([1, 0, 0, 0, 1, np.exp(np.float64(-87.0))], np.float32))
    assert sums.tolist() == [2.0]
