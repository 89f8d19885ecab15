import numpy as np
import pytest

from kvtape.ops.attention import AttentionSpan, write_kv
from tests.reference import attention as reference


@pytest.mark.parametrize("block_size", [32, 64, 128])
@pytest.mark.parametrize("head_dim", [8, 24, 64])
def test_layout(isa, block_size, head_dim, rng):
    n_positions, n_kv_heads = 150, 3
    k = rng.standard_normal((n_positions, n_kv_heads, head_dim), dtype=np.float32)
    v = rng.standard_normal((n_positions, n_kv_heads, head_dim), dtype=np.float32)
    table = rng.permutation(6)[: -(-n_positions // block_size)].astype(np.int32)
    pool, wanted = (reference.empty_pool(6, 2, n_kv_heads, head_dim, block_size) for _ in range(2))
    reference.page(wanted, 1, k, v, table, block_size)
    first, rest = (
        AttentionSpan(first_row=a, n_rows=b - a, first_position=a, blocks=table)
        for a, b in ((0, 37), (37, n_positions))
    )
    write_kv(k, v, pool, [rest, first], layer=1, isa=isa)
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
