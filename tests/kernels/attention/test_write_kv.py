import numpy as np
import pytest

from kvtape.ops.attention import AttentionSpan, write_kv
from tests.reference import attention as reference


@pytest.mark.parametrize("block_size", [32, 64, 128])
@pytest.mark.parametrize("head_dim", [8, 24, 64])
@pytest.mark.parametrize("n_threads", [1, 2])
def test_layout(isa, kv_type, n_threads, block_size, head_dim, rng):
    n_positions, n_kv_heads = 150, 3
    k = rng.standard_normal((n_positions, n_kv_heads, head_dim), dtype=np.float32)
    v = rng.standard_normal((n_positions, n_kv_heads, head_dim), dtype=np.float32)
    table = rng.permutation(6)[: -(-n_positions // block_size)].astype(np.int32)
    pool, wanted = (reference.empty_pool(6, 2, n_kv_heads, head_dim, block_size, kv_type=kv_type) for _ in range(2))
    reference.page(wanted, 1, k, v, table, block_size)
    first, rest = (
        AttentionSpan(first_row=a, n_rows=b - a, first_position=a, blocks=table)
        for a, b in ((0, 37), (37, n_positions))
    )
    write_kv(k, v, pool, [rest, first], layer=1, n_threads=n_threads, isa=isa)
    assert pool.tobytes() == wanted.tobytes()


def test_rounding_to_nearest_even(isa):
    values = [
        0.0,
        -0.0,
        1.0,
        1 + 2**-11,
        1 + 3 * 2**-11,
        65504.0,
        65519.99,
        65520.0,
        1e9,
        -1e9,
        2**-24,
        2**-25,
        3 * 2**-25,
    ]
    values += [2**-14, 2**-14 - 2**-26, 1e-30, np.inf, -np.inf, 0.1, -0.3, 1000.7, 6e-6, 6.1e-5, 2048.5]
    k = np.array(values, np.float32).reshape(1, 1, -1)
    pool = reference.empty_pool(1, 1, 1, k.shape[2], 32)
    write_kv(
        k, -k, pool, [AttentionSpan(first_row=0, n_rows=1, first_position=3, blocks=np.zeros(1, np.int32))], isa=isa
    )
    with np.errstate(over="ignore"):
        halves = k[0, 0].astype(np.float16)
    assert pool[0, 0, 0, 0].reshape(-1, 32)[:, 3].tobytes() == halves.tobytes()
    assert pool[0, 0, 1, 0].reshape(32, -1)[3].tobytes() == (-halves).tobytes()


def write_one(row, isa):
    """Write a row of one head as K and V of position 3; return (q, scales) of both."""
    head_dim = len(row)
    pool = reference.empty_pool(1, 1, 1, head_dim, 32, kv_type="q8_0")
    x = np.array(row, np.float32).reshape(1, 1, -1)
    write_kv(
        x, x, pool, [AttentionSpan(first_row=0, n_rows=1, first_position=3, blocks=np.zeros(1, np.int32))], isa=isa
    )
    k, v = (pool[0, 0, i, 0, : head_dim * 32].view(np.int8) for i in range(2))
    k_scales, v_scales = (pool[0, 0, i, 0, head_dim * 32 :].view(np.float16).reshape(-1, 32)[:, 3] for i in range(2))
    assert k_scales.tobytes() == v_scales.tobytes()
    k, v = k.reshape(head_dim, 32)[:, 3], v.reshape(32, head_dim)[3]
    assert k.tobytes() == v.tobytes()
    return k, k_scales


def test_q8_0_rounds_to_nearest_even(isa):
    q, scales = write_one([127.0, 0.5, 1.5, 2.5, -0.5, -1.5, -127.0, 126.5] + [0.0] * 24, isa)
    assert q[:8].tolist() == [127, 0, 2, 2, 0, -2, -127, 126]
    assert scales.tolist() == [1.0]


def test_q8_0_scales_of_each_block(isa):
    q, scales = write_one([254.0] * 32 + [1e-30] * 32 + [0.0] * 32 + [127e6] * 32 + [-63.5] * 8, isa)
    assert scales[[0, 2, 3, 4]].tolist() == [2.0, 0.0, np.inf, 0.5]
    assert scales[1] == 0
    assert q[64:96].tolist() == [0] * 32
    assert q[:32].tolist() == [127] * 32
    assert q[-8:].tolist() == [-127] * 8


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
def test_q8_0_of_what_is_no_number(isa, bad):
    q, scales = write_one([1.0] * 40 + [bad] + [1.0] * 31, isa)
    assert np.isnan(scales).tolist() == [False, True, False]
    assert q[32:64].tolist() == [0] * 32
    assert q[0] == q[64] == 127


def test_what_is_written_depends_on_its_token_only(isa, kv_type, rng):
    k, v = rng.standard_normal((2, 32, 2, 40), dtype=np.float32)
    table = np.zeros(1, np.int32)
    together, alone = (reference.empty_pool(1, 1, 2, 40, 32, kv_type=kv_type) for _ in range(2))
    write_kv(k, v, together, [AttentionSpan(first_row=0, n_rows=32, first_position=0, blocks=table)], isa=isa)
    for i in rng.permutation(32).tolist():
        span = AttentionSpan(first_row=0, n_rows=1, first_position=i, blocks=table)
        write_kv(k[i : i + 1].copy(), v[i : i + 1].copy(), alone, [span], isa=isa)
    assert together.tobytes() == alone.tobytes()
