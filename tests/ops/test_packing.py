import gguf
import numpy as np
import pytest

from kvtape.errors import InvalidRequest
from kvtape.ops import pack
from kvtape.ops.packing import dequantize_row
from tests.reference import linear as reference
from tests.reference.bits import assert_same_bits

DTYPES = list(reference.BLOCK_BYTES)


def quantized(rng, dtype, n_rows, n_cols):
    """The rows of a random matrix, written by the gguf package, and what the same package reads from them."""
    number = gguf.GGMLQuantizationType[dtype]
    rows = gguf.quantize(rng.standard_normal((n_rows, n_cols), dtype=np.float32), number)
    return np.frombuffer(rows.tobytes(), np.uint8), gguf.dequantize(rows, number).astype(np.float32)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n_rows", "n_cols"), [(1, 32), (15, 64), (16, 96), (17, 160), (300, 576)])
def test_dequantize_row_gives_back_what_was_packed(dtype, n_rows, n_cols, rng):
    rows, wanted = quantized(rng, dtype, n_rows, n_cols)
    w = pack(rows, dtype=dtype, n_rows=n_rows, n_cols=n_cols, n_threads=2)
    assert (w.dtype, w.shape) == (dtype, (n_rows, n_cols))
    assert w.n_bytes == len(rows) // n_rows * -(-n_rows // 16) * 16
    assert_same_bits(np.stack([dequantize_row(w, row) for row in range(n_rows)]), wanted)
    assert_same_bits(reference.dequantize(rows, dtype, (n_rows, n_cols), np.float32), wanted)


@pytest.mark.parametrize("dtype", DTYPES)
def test_packs_from_any_alignment(dtype, rng):
    rows, wanted = quantized(rng, dtype, 3, 32)
    memory = np.concatenate([np.zeros(1, np.uint8), rows])
    assert_same_bits(dequantize_row(pack(memory[1:], dtype=dtype, n_rows=3, n_cols=32), 2), wanted[2])


def test_refuses_what_is_no_matrix():
    rows = np.zeros(34, np.uint8)
    with pytest.raises(InvalidRequest, match=r"pack: Q8_0 \[2, 32\]: rows has 34 bytes, wanted 68"):
        pack(rows, dtype="Q8_0", n_rows=2, n_cols=32)
    with pytest.raises(InvalidRequest, match=r"pack: Q8_0 \[1, 33\], wanted .* a multiple of 32"):
        pack(rows, dtype="Q8_0", n_rows=1, n_cols=33)
    with pytest.raises(InvalidRequest, match="wanted n_rows above 0"):
        pack(rows[:0], dtype="F32", n_rows=0, n_cols=4)
    with pytest.raises(InvalidRequest, match="is more than 2\\^64 bytes"):  # wraps to nothing
        pack(rows[:0], dtype="F32", n_rows=2**32, n_cols=2**30)
    with pytest.raises(InvalidRequest, match="dtype: 'Q3_K', wanted one of F32, F16, BF16, Q8_0, Q4_0, Q4_1"):
        pack(rows, dtype="Q3_K", n_rows=1, n_cols=32)


def test_refuses_rows_that_are_not_there(rng):
    w = pack(quantized(rng, "Q4_1", 3, 32)[0], dtype="Q4_1", n_rows=3, n_cols=32)
    with pytest.raises(InvalidRequest, match="row: 3, the weights have 3 rows"):
        dequantize_row(w, 3)
    with pytest.raises(InvalidRequest, match="out: length 31, wanted 32"):
        w.dequantize_row(0, np.empty(31, np.float32))
