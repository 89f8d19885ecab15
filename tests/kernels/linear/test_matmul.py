import numpy as np
import pytest

from kvtape.ops import matmul, pack, quantize_rows
from tests.reference import linear as reference
from tests.reference.bits import assert_same_bits
from tests.reference.tolerance import assert_as_good_as_naive

DTYPES = list(reference.BLOCK_BYTES)
N_COLS = {32: [32, 64, 96, 128, 160, 224, 576, 640, 896, 1536, 2080], 256: [256, 512, 768, 1024, 1280, 1536, 4864]}
WITH_MINIMUM = ["Q4_1", "Q5_1", "Q4_K", "Q5_K"]
N_TOKENS = [1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 16, 17, 64]


def halves(rng, n, kind):
    """f16 scales: of ordinary size and both signs, subnormal ones and zeros, or the largest."""
    if kind == "subnormal":
        return rng.integers(0, 1024, n, np.uint16) | rng.integers(0, 2, n, np.uint16) << 15
    scales = np.full(n, 65504.0) if kind == "extreme" else rng.standard_normal(n) * 0.02
    return scales.astype(np.float16).view(np.uint16)


def widths(dtypes, *wanted):
    """Each type with each number of columns: `wanted`, rounded up to blocks, or the list of its block length."""
    return [
        (dtype, n_cols)
        for dtype in dtypes
        for length in [reference.BLOCK_LEN[dtype]]
        for n_cols in ({-(-n // length) * length: 0 for n in wanted} or N_COLS[max(length, 32)])
    ]


def file_rows(rng, dtype, n_rows, n_cols, kind="ordinary"):
    """The bytes of a matrix in a model file. `extreme` is the largest sum a block can have, of either sign."""
    n = n_rows * n_cols
    if dtype in reference.FLOATS:
        weights = rng.standard_normal(n, dtype=np.float32) * np.float32(0.02)
        if dtype == "BF16":
            return (weights.view(np.uint32) >> 16).astype(np.uint16).view(np.uint8)
        return weights.astype(np.float32 if dtype == "F32" else np.float16).view(np.uint8)
    n_blocks = n // reference.BLOCK_LEN[dtype]
    blocks = rng.integers(0, 256, (n_blocks, reference.BLOCK_BYTES[dtype]), np.uint8)
    if kind == "extreme":
        fill = [0x80, 0x7F] if dtype == "Q8_0" else [0xFF, 0x00]
        blocks[:] = rng.choice(np.array(fill, np.uint8), (n_blocks, 1))
        if dtype == "Q6_K":  # sub-scales of -128 or 127 on n - 32 = -32 or 31
            blocks[:, 192:208] = rng.choice(np.array([0x80, 0x7F], np.uint8), (n_blocks, 1))
    n_halves = 2 if dtype in WITH_MINIMUM else 1
    at = 208 if dtype == "Q6_K" else 0
    blocks[:, at : at + 2 * n_halves] = halves(rng, (n_blocks, n_halves), kind).view(np.uint8)
    return blocks.reshape(-1)


def packed(rows, dtype, n_rows, n_cols):
    return pack(rows, dtype=dtype, n_rows=n_rows, n_cols=n_cols)


def activations(x, dtype, precision):
    """What the kernel multiplies: x itself, or x after a round trip through int8."""
    if dtype in reference.FLOATS:
        return x.astype(precision)
    q, d, *_ = reference.quantize_rows(x)
    return q.astype(precision) * np.repeat(d.astype(precision), 32, axis=1)


def check(rows, x, dtype, n_rows, isa):
    n_cols = x.shape[1]
    w = packed(rows, dtype, n_rows, n_cols)
    found = matmul(w, x, isa=isa)
    exact, naive = (
        reference.matmul(reference.dequantize(rows, dtype, (n_rows, n_cols), t), activations(x, dtype, t))
        for t in (np.float64, np.float32)
    )
    summed = np.abs(reference.dequantize(rows, dtype, (n_rows, n_cols), np.float64)) @ np.abs(x).astype(np.float64).T
    assert_as_good_as_naive(found, naive, exact, scale=summed.max())
    assert_same_bits(found, matmul(w, x, isa="ref"))


@pytest.mark.parametrize(("dtype", "n_cols"), widths(DTYPES))
def test_matches_float64(isa, dtype, n_cols, rng):
    x = rng.standard_normal((5, n_cols), dtype=np.float32)
    check(file_rows(rng, dtype, 37, n_cols), x, dtype, 37, isa)


@pytest.mark.parametrize("dtype", reference.FLOATS)
@pytest.mark.parametrize("n_cols", [1, 2, 31, 33, 577])
def test_any_number_of_columns_where_weights_are_floats(isa, dtype, n_cols, rng):
    check(file_rows(rng, dtype, 5, n_cols), rng.standard_normal((7, n_cols), dtype=np.float32), dtype, 5, isa)


@pytest.mark.parametrize(("dtype", "n_cols"), widths(DTYPES, 96))
@pytest.mark.parametrize("n_rows", [1, 8, 9, 15, 16, 17, 24, 100])
def test_any_number_of_rows(isa, dtype, n_cols, n_rows, rng):
    x = rng.standard_normal((6, n_cols), dtype=np.float32)
    check(file_rows(rng, dtype, n_rows, n_cols), x, dtype, n_rows, isa)


@pytest.mark.parametrize(("dtype", "n_cols"), widths(reference.QUANTIZED, 32, 224, 1536))
@pytest.mark.parametrize("kind", ["extreme", "subnormal"])
def test_hard_weights(isa, dtype, kind, n_cols, rng):
    rows = file_rows(rng, dtype, 20, n_cols, kind)
    x = np.ones((6, n_cols), np.float32)  # every q is 127 or -127: the largest sums there are
    x[1] = -1
    x[2] = rng.choice([-1, 1], n_cols)
    x[3:] = rng.standard_normal((3, n_cols))
    check(rows, x, dtype, 20, isa)


@pytest.mark.parametrize(("dtype", "n_cols"), widths(DTYPES, 640))
def test_hard_activations(isa, dtype, n_cols, rng):
    scales = np.array([[0], [1e30], [1e-42], [1], [1e-30]], np.float32)
    x = rng.standard_normal((5, n_cols), dtype=np.float32) * scales
    x[3, 100] = 1e6
    rows = file_rows(rng, dtype, 33, n_cols)
    w = packed(rows, dtype, 33, n_cols)
    found = matmul(w, x, isa=isa)
    assert np.isfinite(found).all()
    assert not found[0].any()
    assert_same_bits(found, matmul(w, x, isa="ref"))
    for row in range(5):  # each by its own scale
        check(rows, x[row : row + 1], dtype, 33, isa)


@pytest.mark.parametrize(("dtype", "n_cols"), widths(reference.QUANTIZED, 96))
def test_nan_reaches_the_output(isa, dtype, n_cols, rng):
    x = rng.standard_normal((2, n_cols), dtype=np.float32)
    x[1, 40] = np.inf
    found = matmul(packed(file_rows(rng, dtype, 17, n_cols), dtype, 17, n_cols), x, isa=isa)
    assert np.isfinite(found[0]).all()
    assert np.isnan(found[1]).all()


@pytest.mark.parametrize(("dtype", "n_cols"), widths(DTYPES, 96, 576, 2080))
def test_bits_do_not_depend_on_the_batch(isa, dtype, n_cols, rng):
    x = rng.standard_normal((64, n_cols), dtype=np.float32)
    w = packed(file_rows(rng, dtype, 50, n_cols), dtype, 50, n_cols)
    whole = matmul(w, x, isa=isa)
    for n_tokens in N_TOKENS:
        parts = [matmul(w, x[i : i + n_tokens], isa=isa) for i in range(0, 64, n_tokens)]
        assert_same_bits(np.concatenate(parts), whole)


@pytest.mark.parametrize(("dtype", "n_cols"), widths(DTYPES, 96))
@pytest.mark.parametrize("n_tokens", [1, 9])
@pytest.mark.parametrize("n_threads", [2, 3])
def test_bits_do_not_depend_on_threads(isa, dtype, n_cols, n_tokens, n_threads, rng):
    x = rng.standard_normal((n_tokens, n_cols), dtype=np.float32)
    w = packed(file_rows(rng, dtype, 1000, n_cols), dtype, 1000, n_cols)
    assert_same_bits(matmul(w, x, isa=isa, n_threads=n_threads), matmul(w, x, isa=isa))


@pytest.mark.parametrize(("dtype", "n_cols"), widths(reference.QUANTIZED, 32))
@pytest.mark.parametrize("kind", ["ordinary", "extreme"])
def test_formula_of_one_block(isa, dtype, n_cols, kind, rng):
    """One block of 32 is one or two FMAs: float64 gets the same bits where its sums are exact enough."""
    rows = file_rows(rng, dtype, 16, n_cols, kind)
    d_w, sub, n, minimum = (
        None if field is None else field.reshape(16, -1).astype(np.float64) for field in reference.fields(rows, dtype)
    )
    for begin in range(0, n_cols, 32):  # the other blocks are zeros and add nothing
        x = np.zeros((3, n_cols), np.float32)
        block = np.s_[:, begin : begin + 32]
        x[block] = rng.standard_normal((3, 32), dtype=np.float32)
        found = matmul(packed(rows, dtype, 16, n_cols), x, isa=isa)
        q, d, s, *_ = (a.astype(np.float64) for a in quantize_rows(x, isa=isa))
        d, s = d[:, begin // 32, None], s[:, begin // 32, None]
        if dtype == "Q6_K":  # two sub-scales in a block: they are part of the integer
            scale, dots = d_w[:, 0], q[block] @ (sub * n)[block].T
        else:
            scale, dots = (d_w * sub)[:, begin], q[block] @ n[block].T
        wanted = ((scale * d).astype(np.float32).astype(np.float64) * dots).astype(np.float32)
        if minimum is not None:
            wanted = (wanted.astype(np.float64) + minimum[:, begin] * s).astype(np.float32)
        assert_same_bits(found, wanted)
