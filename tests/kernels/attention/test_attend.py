import numpy as np
import pytest

from kvtape.ops.attention import AttentionSpan, attention
from tests.reference import attention as reference
from tests.reference.tolerance import assert_as_good_as_naive

SEAMS = [1, 2, 15, 16, 17, 31, 32, 33, 127, 128, 129, 255, 256, 257]


class Context:
    """One sequence in a pool of its own, unseen slots full of garbage."""

    def __init__(self, rng, n_positions, *, kv_type="f16", n_kv_heads=1, head_dim=64, block_size=32, garbage=np.nan):
        self.k, self.v = rng.standard_normal((2, n_positions, n_kv_heads, head_dim), dtype=np.float32)
        self.kv_type, self.block_size = kv_type, block_size
        n_blocks = -(-n_positions // block_size)
        self.table = rng.permutation(n_blocks + 2)[:n_blocks].astype(np.int32)
        self.pool = reference.empty_pool(n_blocks + 2, 1, n_kv_heads, head_dim, block_size, garbage, kv_type)
        self.store()

    def store(self):
        """Write k and v to the pool, and take them as the pool gives them back."""
        reference.page(self.pool, 0, self.k, self.v, self.table, self.block_size)
        self.k, self.v = (reference.stored(x, self.kv_type) for x in (self.k, self.v))

    def attend(self, q, first_position, *, scale=0.125, window=0, hole=(0, 0), isa=None):
        absent = slice(-(-hole[0] // self.block_size), max(-(-hole[0] // self.block_size), hole[1] // self.block_size))
        span = AttentionSpan(
            first_row=0,
            n_rows=len(q),
            first_position=first_position,
            blocks=np.delete(self.table, absent),
            hole_begin=hole[0],
            hole_end=hole[1],
        )
        return attention(q, self.pool, [span], scale=scale, window=window, isa=isa)

    def reference(self, dtype, q, v, *args):
        return reference.attention(q.astype(dtype), self.k.astype(dtype), v.astype(dtype), *args)

    def check(self, q, first_position, *, scale=0.125, window=0, hole=(0, 0), isa=None):
        options = {"scale": scale, "window": window, "hole": hole}
        got = self.attend(q, first_position, **options, isa=isa)
        args = (range(first_position, first_position + len(q)), scale, window, hole)
        exact, naive = (self.reference(t, q, self.v, *args) for t in (np.float64, np.float32))
        summed = self.reference(np.float64, q, np.abs(self.v), *args).max()
        assert_as_good_as_naive(got, naive, exact, scale=summed)
        assert got.tobytes() == self.attend(q, first_position, **options, isa="ref").tobytes()


@pytest.mark.parametrize("n_positions", SEAMS)
def test_last_row_at_each_seam(isa, kv_type, n_positions, rng):
    context = Context(rng, n_positions, kv_type=kv_type)
    context.check(rng.standard_normal((1, 3, 64), dtype=np.float32), n_positions - 1, isa=isa)


@pytest.mark.parametrize("n_heads", [1, 2, 3, 4, 5, 6, 7, 9, 13])
def test_every_size_of_register_block(isa, kv_type, n_heads, rng):
    context = Context(rng, 70, kv_type=kv_type)
    context.check(rng.standard_normal((1, n_heads, 64), dtype=np.float32), 69, isa=isa)


@pytest.mark.parametrize("head_dim", [8, 16, 24, 40, 64, 72, 80, 96, 128, 256])
@pytest.mark.parametrize("n_heads", [1, 3, 6])
def test_head_dims(isa, kv_type, head_dim, n_heads, rng):
    context = Context(rng, 45, kv_type=kv_type, head_dim=head_dim)
    context.check(rng.standard_normal((2, n_heads, head_dim), dtype=np.float32), 43, scale=head_dim**-0.5, isa=isa)


@pytest.mark.parametrize("block_size", [32, 64, 128])
@pytest.mark.parametrize("n_kv_heads", [1, 3])
def test_a_prompt_on_the_diagonal(isa, kv_type, block_size, n_kv_heads, rng):
    context = Context(rng, 140, kv_type=kv_type, n_kv_heads=n_kv_heads, block_size=block_size)
    context.check(rng.standard_normal((140, 3 * n_kv_heads, 64), dtype=np.float32), 0, isa=isa)


@pytest.mark.parametrize("garbage", [np.nan, np.inf, -np.inf, 65504.0])
def test_what_lies_beyond_is_not_seen(isa, kv_type, garbage, rng):
    clean, dirty = (Context(np.random.default_rng(7), 131, kv_type=kv_type, garbage=fill) for fill in (0.0, garbage))
    q = rng.standard_normal((5, 6, 64), dtype=np.float32)
    assert dirty.attend(q, 126, isa=isa).tobytes() == clean.attend(q, 126, isa=isa).tobytes()


@pytest.mark.parametrize("window", [1, 2, 15, 16, 17, 31, 32, 33, 100, 127, 128, 129, 200, 299, 300, 1000])
@pytest.mark.parametrize("n_heads", [1, 3, 6])
def test_a_window_ends_anywhere_in_a_partition(isa, kv_type, window, n_heads, rng):
    context = Context(rng, 300, kv_type=kv_type)
    context.check(rng.standard_normal((1, n_heads, 64), dtype=np.float32), 299, window=window, isa=isa)


@pytest.mark.parametrize("window", [1, 3, 5, 40, 128, 130])
@pytest.mark.parametrize("block_size", [32, 64, 128])
def test_a_window_over_a_prompt(isa, kv_type, window, block_size, rng):
    context = Context(rng, 140, kv_type=kv_type, block_size=block_size)
    context.check(rng.standard_normal((140, 3, 64), dtype=np.float32), 0, window=window, isa=isa)


@pytest.mark.parametrize("garbage", [np.nan, np.inf, 65504.0])
def test_what_a_window_has_left_is_not_seen(isa, kv_type, garbage, rng):
    context, q = Context(rng, 300, kv_type=kv_type), rng.standard_normal((7, 3, 64), dtype=np.float32)
    clean = context.attend(q, 290, window=50, isa=isa)
    gone = 290 + 1 - 50  # where the first row's window begins
    context.k[:gone] = context.v[:gone] = garbage
    context.store()
    assert context.attend(q, 290, window=50, isa=isa).tobytes() == clean.tobytes()


def test_a_window_as_long_as_the_context_changes_nothing(isa, kv_type, rng):
    context, q = Context(rng, 300, kv_type=kv_type), rng.standard_normal((300, 3, 64), dtype=np.float32)
    assert context.attend(q, 0, window=300, isa=isa).tobytes() == context.attend(q, 0, isa=isa).tobytes()


HOLES = [(0, 1), (0, 40), (0, 256), (1, 2), (31, 33), (32, 64), (40, 70), (33, 255), (90, 128), (100, 290), (128, 256)]


@pytest.mark.parametrize("hole", HOLES)
@pytest.mark.parametrize("n_heads", [1, 3, 7])
def test_a_hole_cuts_anywhere(isa, kv_type, hole, n_heads, rng):
    context = Context(rng, 300, kv_type=kv_type)
    context.check(rng.standard_normal((9, n_heads, 64), dtype=np.float32), 291, hole=hole, isa=isa)


@pytest.mark.parametrize("block_size", [32, 64, 128])
@pytest.mark.parametrize("window", [1, 60, 100, 200])
def test_a_hole_under_a_window(isa, kv_type, block_size, window, rng):
    context = Context(rng, 300, kv_type=kv_type, block_size=block_size)
    context.check(rng.standard_normal((99, 3, 64), dtype=np.float32), 201, window=window, hole=(50, 199), isa=isa)


@pytest.mark.parametrize("garbage", [np.nan, np.inf, 65504.0])
def test_what_is_in_a_hole_is_not_seen(isa, kv_type, garbage, rng):
    context, q = Context(rng, 300, kv_type=kv_type), rng.standard_normal((7, 3, 64), dtype=np.float32)
    clean = context.attend(q, 290, hole=(45, 170), isa=isa)
    context.k[45:170] = context.v[45:170] = garbage
    context.store()
    assert context.attend(q, 290, hole=(45, 170), isa=isa).tobytes() == clean.tobytes()


def test_a_hole_of_whole_partitions_only_skips_them(isa, kv_type, rng):
    context, q = Context(rng, 400, kv_type=kv_type), rng.standard_normal((5, 3, 64), dtype=np.float32)
    before, behind = range(128), range(256, 400)
    dense = Context(rng, 272, kv_type=kv_type)
    dense.k, dense.v = (x[[*before, *behind]] for x in (context.k, context.v))
    dense.pool[:] = 0
    dense.store()
    assert context.attend(q, 395, hole=(128, 256), isa=isa).tobytes() == dense.attend(q, 267, isa=isa).tobytes()


@pytest.mark.parametrize("scale", [1e-3, 1.0, 8.0, -1.0])
def test_from_flat_to_peaked(isa, kv_type, scale, rng):
    context = Context(rng, 300, kv_type=kv_type)
    context.check(rng.standard_normal((2, 3, 64), dtype=np.float32), 298, scale=scale, isa=isa)


def test_one_key_takes_everything(isa, kv_type, rng):
    context = Context(rng, 200, kv_type=kv_type)
    q = (100 * context.k[77, 0]).reshape(1, 1, 64)
    np.testing.assert_array_equal(context.attend(q, 199, isa=isa)[0, 0], context.v[77, 0])


def test_equal_scores_average_the_values(isa, kv_type, rng):
    context = Context(rng, 256, kv_type=kv_type)
    got = context.attend(np.zeros((1, 1, 64), np.float32), 255, isa=isa)[0, 0]
    np.testing.assert_allclose(got, context.v[:, 0].astype(np.float64).mean(axis=0), rtol=0, atol=1e-6)


def test_scores_of_either_zero(isa, kv_type, rng):
    context = Context(rng, 130, kv_type=kv_type)
    q = np.full((1, 2, 64), -0.0, np.float32)
    context.check(q, 129, isa=isa)
    context.check(q, 129, scale=-0.125, isa=isa)
