import numpy as np
import pytest

from kvtape.ops.sampling import run_max

INF, NAN = np.inf, np.nan


@pytest.mark.parametrize("n", [1, 7, 8, 9, 15, 16, 17, 63, 64, 65, 127, 128, 129, 1000])
def test_matches_numpy(isa, n, rng):
    x = rng.standard_normal(n, dtype=np.float32)
    wanted = [x[i : i + 64].max() for i in range(0, n, 64)]
    assert run_max(x, isa=isa).tobytes() == np.array(wanted, np.float32).tobytes()


@pytest.mark.parametrize("n", [1, 5, 8, 13, 16, 21, 64])
def test_at_every_place(isa, n):
    for place in range(n):
        x = np.full(n, -5.0, np.float32)
        x[place] = -4.0
        assert run_max(x, isa=isa).tolist() == [-4.0]


@pytest.mark.parametrize(
    ("x", "wanted"),
    [
        ([NAN, 1.0, NAN], 1.0),
        ([1.0, NAN], 1.0),
        ([NAN] * 20, -INF),
        ([-INF] * 9, -INF),
        ([-INF, INF, NAN], INF),
        ([-1.0] * 17 + [NAN], -1.0),
        ([NAN] * 3 + [-7.0] + [NAN] * 30, -7.0),
    ],
)
def test_nan_and_infinity(isa, x, wanted):
    assert run_max(np.array(x, np.float32), isa=isa).tolist() == [wanted]


def test_zero_is_positive(isa):
    for x in ([-0.0], [-0.0, 0.0], [0.0, -0.0], [-0.0] * 16, [-1.0] * 8 + [-0.0]):
        assert not np.signbit(run_max(np.array(x, np.float32), isa=isa)[0])
