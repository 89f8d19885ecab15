"""Contexts of several partitions and groups of partitions, where states are folded."""

import numpy as np
import pytest

from tests.kernels.attention.test_attend import Context


@pytest.mark.parametrize("n_positions", [1023, 1024, 1025, 1151, 1153, 2047, 2048, 2049, 3200])
def test_each_seam_of_groups(isa, kv_type, n_positions, rng):
    context = Context(rng, n_positions, kv_type=kv_type, head_dim=16)
    context.check(rng.standard_normal((3, 2, 16), dtype=np.float32), n_positions - 3, scale=0.25, isa=isa)


@pytest.mark.parametrize("position", [0, 1023, 1024, 2500])
def test_a_peak_in_any_group_wins(isa, kv_type, position, rng):
    context = Context(rng, 2600, kv_type=kv_type, head_dim=16)
    context.k[position] = 8.0  # no other key has half the product with q, so their exponentials are 0
    context.store()
    got = context.attend(np.full((1, 1, 16), 100.0, np.float32), 2599, scale=1.0, isa=isa)
    np.testing.assert_array_equal(got[0, 0], context.v[position, 0])


@pytest.mark.parametrize("sign", [-1, 1])
def test_scores_that_climb_or_fall_from_group_to_group(isa, kv_type, sign, rng):
    context = Context(rng, 2100, kv_type=kv_type, head_dim=8)
    context.k[:, 0, 0] = sign * np.arange(2100) / 100
    context.store()
    q = np.zeros((1, 1, 8), np.float32)
    q[0, 0, 0] = 4.0
    context.check(q, 2099, scale=1.0, isa=isa)
