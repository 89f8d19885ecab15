"""What must not change the bits of a row: everything but its query, its position and the KV it sees."""

import numpy as np
import pytest

from kvtape.engine.core import KV_TYPES
from kvtape.errors import InvalidRequest
from kvtape.ops.attention import AttentionSpan, attention
from tests.reference import attention as reference

N_HEADS, N_KV_HEADS, HEAD_DIM = 6, 2, 16


class Batch:
    """Sequences of given lengths whose last n_rows tokens are attended; each may have a hole before these."""

    def __init__(self, seed, lengths, n_rows, shared_len=0, n_heads=N_HEADS, holes=None):
        rng = np.random.default_rng(seed)
        shape = (max(lengths), N_KV_HEADS, HEAD_DIM)
        shared = rng.standard_normal((2, *shape)).astype(np.float16)
        self.lengths, self.n_rows, self.shared_len = lengths, n_rows, shared_len
        self.holes = holes or [(0, 0)] * len(lengths)
        self.kv = []
        for _ in lengths:
            own = rng.standard_normal((2, *shape)).astype(np.float16)
            own[:, :shared_len] = shared[:, :shared_len]
            self.kv.append(own)
        self.q = rng.standard_normal((len(lengths) * n_rows, n_heads, HEAD_DIM), dtype=np.float32)

    def run(self, *, block_size=32, seed=0, groups=None, pieces=None, kv_type="f16", **options):
        """Page the sequences (shared blocks once where they are grouped) and attend; `pieces` cuts each one's rows."""
        groups = groups or list(range(len(self.lengths)))
        pieces = pieces or [self.n_rows]
        n_shared = self.shared_len // block_size
        n_blocks = [-(-length // block_size) for length in self.lengths]
        ids = np.random.default_rng(seed).permutation(sum(n_blocks) + 3).astype(np.int32)
        pool = reference.empty_pool(len(ids), 1, N_KV_HEADS, HEAD_DIM, block_size, kv_type=kv_type)
        spans, tables, used = [], {}, 0
        for i, length in enumerate(self.lengths):
            table = ids[used : used + n_blocks[i]].copy()
            used += n_blocks[i]
            if groups.count(groups[i]) > 1:
                table[:n_shared] = tables.setdefault(groups[i], table[:n_shared])
            reference.page(pool, 0, *self.kv[i][:, :length], table, block_size)
            hole_begin, hole_end = self.holes[i]
            first_absent = -(-hole_begin // block_size)
            table = np.delete(table, slice(first_absent, max(first_absent, hole_end // block_size)))
            row = 0
            for n in pieces:
                first = i * self.n_rows + row
                position = length - self.n_rows + row
                shared_len = self.shared_len if groups.count(groups[i]) > 1 else 0
                spans.append(
                    AttentionSpan(
                        first_row=first,
                        n_rows=n,
                        first_position=position,
                        blocks=table,
                        group=groups[i],
                        shared_len=shared_len,
                        hole_begin=hole_begin,
                        hole_end=hole_end,
                    )
                )
                row += n
        return attention(self.q, pool, spans, **options).tobytes()


@pytest.mark.parametrize("length", [127, 300, 1030])
def test_block_size_and_block_ids(isa, length):
    batch = Batch(1, [length, length // 2], 2)
    answers = {batch.run(block_size=size, seed=seed, isa=isa) for size in (32, 64, 128) for seed in (0, 1)}
    assert len(answers) == 1


@pytest.mark.parametrize("window", [0, 20, 130])
def test_chunks_of_a_prompt(isa, window):
    batch = Batch(2, [161], 161)
    whole = batch.run(isa=isa, window=window)
    for pieces in ([1, 160], [64, 64, 33], [127, 1, 33], [1] * 161):
        # each piece alone: a group of its own would also do, but this way the batch differs too
        assert batch.run(pieces=pieces, isa=isa, window=window) == whole


@pytest.mark.parametrize("window", [0, 100, 1100])
def test_threads(isa, window):
    batch = Batch(3, [2100, 70, 1500], 3)
    assert batch.run(n_threads=2, isa=isa, window=window) == batch.run(n_threads=1, isa=isa, window=window)


@pytest.mark.parametrize("shared_len", [100, 128, 300, 1024, 1152, 2200])
@pytest.mark.parametrize("kv_type", KV_TYPES)
def test_shared_or_not(isa, kv_type, shared_len):
    lengths = [shared_len + n for n in (3, 200, 1100, 4)]
    batch = Batch(4, lengths, 3, shared_len)
    alone = batch.run(isa=isa, kv_type=kv_type)
    assert batch.run(groups=[7, 7, 7, 7], isa=isa, kv_type=kv_type) == alone
    assert batch.run(groups=[0, 0, 5, 5], isa=isa, kv_type=kv_type, n_threads=2) == alone
    assert batch.run(groups=[1, 2, 2, 3], block_size=128, isa=isa, kv_type=kv_type) == alone


@pytest.mark.parametrize("window", [0, 100, 1100])
def test_rows_inside_what_is_shared(isa, window):
    batch = Batch(5, [1300, 1300], 700, 1280)  # most rows of both stand in the shared part
    assert batch.run(groups=[0, 0], isa=isa, window=window) == batch.run(isa=isa, window=window)


@pytest.mark.parametrize("window", [1, 128, 500, 1025, 2000])
def test_a_window_over_what_is_shared(isa, window):
    batch = Batch(8, [1200 + n for n in (3, 200, 1100, 4)], 3, 1152)
    alone = batch.run(isa=isa, window=window)
    assert batch.run(groups=[7, 7, 7, 7], isa=isa, window=window) == alone
    assert batch.run(groups=[0, 0, 5, 5], isa=isa, n_threads=2, block_size=128, window=window) == alone


HOLES = [(5, 6), (40, 70), (128, 1024), (100, 1100), (0, 1060), (1000, 1030)]


@pytest.mark.parametrize("hole", HOLES)
def test_a_hole_and_everything_around_it(isa, hole):
    batch = Batch(10, [1300, 1151], 30, holes=[hole, hole])
    whole = batch.run(isa=isa)
    assert whole == batch.run(isa="ref", block_size=128, seed=1)
    assert whole == batch.run(isa=isa, block_size=64, n_threads=2, pieces=[1, 22, 7])


@pytest.mark.parametrize("shared_len", [128, 1000, 1152, 1200])
@pytest.mark.parametrize("hole", HOLES)
def test_forks_share_a_hole(isa, hole, shared_len):
    lengths = [1290, 1350, 2300]
    batch = Batch(11, lengths, 3, shared_len, holes=[hole] * 3)
    assert batch.run(groups=[7, 7, 7], isa=isa) == batch.run(isa=isa)
    assert batch.run(groups=[7, 7, 7], isa=isa, window=200) == batch.run(isa=isa, window=200)


def test_spans_with_different_holes_share_what_is_before_them(isa):
    batch = Batch(12, [1290, 1350, 2300], 3, 300, holes=[(0, 0), (300, 600), (300, 1500)])
    assert batch.run(groups=[7, 7, 7], isa=isa) == batch.run(isa=isa)
    batch.holes[2] = (250, 1500)
    with pytest.raises(InvalidRequest, match="group 7 share 300 positions but not their holes"):
        batch.run(groups=[7, 7, 7], isa=isa)


@pytest.mark.parametrize("window", [1, 33, 1024, 1025])
def test_windows_deep_in_a_context_match_float64(window):
    length, n_rows = 2300, 5
    batch = Batch(9, [length], n_rows)
    found = np.frombuffer(batch.run(scale=0.25, window=window), np.float32).reshape(batch.q.shape)
    k, v = batch.kv[0].astype(np.float64)
    positions = range(length - n_rows, length)
    exact = reference.attention(batch.q.astype(np.float64), k, v, positions, 0.25, window)
    np.testing.assert_allclose(found, exact, atol=1e-5)


def test_neighbours(isa):
    batch = Batch(6, [90, 1050, 257], 5)
    together = np.frombuffer(batch.run(isa=isa), np.float32).reshape(batch.q.shape)
    for i, length in enumerate(batch.lengths):
        alone = Batch(6, [length], 5)
        alone.kv, alone.q = [batch.kv[i]], batch.q[5 * i : 5 * i + 5]
        assert alone.run(isa=isa) == together[5 * i : 5 * i + 5].tobytes()


@pytest.mark.parametrize("kv_type", KV_TYPES)
def test_isas_agree(isa, kv_type):
    batch = Batch(7, [2300, 40, 1025], 30)
    for window in (0, 150):
        options = {"window": window, "kv_type": kv_type}
        assert batch.run(isa=isa, **options) == batch.run(isa="ref", **options)


def test_rows_without_a_span_are_left_alone(isa):
    q = np.ones((3, N_HEADS, HEAD_DIM), np.float32)
    pool = reference.empty_pool(1, 1, N_KV_HEADS, HEAD_DIM, 32, fill=1.0)
    out = np.full_like(q, 5.0)
    span = AttentionSpan(first_row=1, n_rows=1, first_position=0, blocks=np.zeros(1, np.int32))
    empty = AttentionSpan(first_row=0, n_rows=0, first_position=0, blocks=np.zeros(0, np.int32))
    attention(q, pool, [empty, span], isa=isa, out=out)
    assert [row.mean() for row in out] == [5.0, 1.0, 5.0]
    attention(q, pool, [], isa=isa, out=out)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"first_position": 32}, "covers 32 positions, wanted 33"),
        ({"first_position": -1}, "first_position is -1"),
        ({"blocks": np.array([4], np.int32)}, "block id 4 of a pool of 4"),
        ({"blocks": np.array([-1], np.int32)}, "block id -1"),
        ({"n_rows": 3}, "3 rows from row 0 on, wanted at most 2"),
        ({"shared_len": 64}, "covers 32 positions, wanted 64"),
        ({"hole_end": 1}, "a hole of positions 0 to 1, wanted it before first_position, which is 0"),
        ({"hole_begin": -1}, "a hole of positions -1 to 0"),
        ({"first_position": 9, "hole_begin": 5, "hole_end": 4}, "a hole of positions 5 to 4"),
        ({"first_position": 96, "hole_begin": 5, "hole_end": 96}, "covers 96 positions, wanted 97"),
    ],
)
def test_a_span_that_does_not_fit(change, message):
    fields = {"first_row": 0, "n_rows": 1, "first_position": 0, "blocks": np.zeros(1, np.int32)} | change
    pool = reference.empty_pool(4, 1, N_KV_HEADS, HEAD_DIM, 32)
    with pytest.raises(InvalidRequest, match=message):
        attention(np.zeros((2, N_HEADS, HEAD_DIM), np.float32), pool, [AttentionSpan(**fields)])


@pytest.mark.parametrize(
    ("q_shape", "pool_shape", "layer", "message"),
    [
        ((1, 6, 16), (4, 1, 2, 4, 512), 0, "6 heads over 4 KV heads"),
        ((1, 6, 16), (4, 1, 2, 2, 256), 0, "block_size is 16"),
        ((1, 6, 12), (4, 1, 2, 2, 384), 0, "head_dim is 12"),
        ((1, 6, 264), (4, 1, 2, 2, 264 * 32), 0, "head_dim is 264"),
        ((1, 6, 16), (4, 1, 2, 2, 512), 1, "layer 1 of a pool of 1"),
        ((1, 6, 16), (4, 1, 2, 2, 500), 0, "pool: tiles of 1000 bytes, wanted a multiple of 32 for head_dim 16"),
        ((1, 6, 16), (4, 1, 3, 2, 512), 0, "pool: shape"),
    ],
)
def test_a_pool_that_does_not_fit(q_shape, pool_shape, layer, message):
    span = AttentionSpan(first_row=0, n_rows=1, first_position=0, blocks=np.zeros(1, np.int32))
    with pytest.raises(InvalidRequest, match=message):
        attention(np.zeros(q_shape, np.float32), np.zeros(pool_shape, np.float16), [span], layer=layer)


def test_a_group_whose_blocks_differ():
    pool = reference.empty_pool(8, 1, N_KV_HEADS, HEAD_DIM, 128)
    spans = [
        AttentionSpan(first_row=i, n_rows=1, first_position=200, blocks=np.array(t, np.int32), group=3, shared_len=128)
        for i, t in enumerate([[0, 1], [2, 3]])
    ]
    with pytest.raises(InvalidRequest, match="group 3 share 128 positions but not their blocks"):
        attention(np.zeros((2, N_HEADS, HEAD_DIM), np.float32), pool, spans)
