import gguf
import numpy as np
import pytest

from kvtape.errors import InvalidRequest
from kvtape.ops import pack
from kvtape.ops.packing import dequantize_row
from tests.reference import k_quants
from tests.reference import linear as reference
from tests.reference.bits import assert_same_bits

DTYPES = list(reference.BLOCK_BYTES)


# The scales of Q4_K and Q5_K are 6 bits in a file and bytes in memory: 4 bytes more in a block of 256.
PACKED_BYTES = reference.BLOCK_BYTES | {"Q4_K": 148, "Q5_K": 180}


def quantized(rng, dtype, n_rows, n_cols):
    """The rows of a random matrix in blocks, and what the gguf package reads from them."""
    number = gguf.GGMLQuantizationType[dtype]
    w = rng.standard_normal((n_rows, n_cols), dtype=np.float32)
    rows = k_quants.quantize(w, dtype) if dtype in k_quants.NAMES else gguf.quantize(w, number)
    return np.frombuffer(rows.tobytes(), np.uint8), gguf.dequantize(rows, number).astype(np.float32)


def check(rows, dtype, n_rows, n_cols, wanted):
    w = pack(rows, dtype=dtype, n_rows=n_rows, n_cols=n_cols, n_threads=2)
    assert (w.dtype, w.shape) == (dtype, (n_rows, n_cols))
    assert w.n_bytes == n_cols // reference.BLOCK_LEN[dtype] * PACKED_BYTES[dtype] * -(-n_rows // 16) * 16
    assert_same_bits(np.stack([dequantize_row(w, row) for row in range(n_rows)]), wanted)
    assert_same_bits(reference.dequantize(rows, dtype, (n_rows, n_cols), np.float32), wanted)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n_rows", "n_blocks"), [(1, 1), (15, 2), (16, 3), (17, 5), (300, 18)])
def test_dequantize_row_gives_back_what_was_packed(dtype, n_rows, n_blocks, rng):
    n_cols = n_blocks * max(reference.BLOCK_LEN[dtype], 32)
    rows, wanted = quantized(rng, dtype, n_rows, n_cols)
    check(rows, dtype, n_rows, n_cols, wanted)


@pytest.mark.parametrize("dtype", reference.QUANTIZED)
def test_any_bytes_of_a_block_are_read_as_the_gguf_package_reads_them(dtype, rng):
    blocks = rng.integers(0, 256, (17 * 3, reference.BLOCK_BYTES[dtype]), np.uint8)
    at = 208 if dtype == "Q6_K" else 0
    n_halves = 2 if dtype in ("Q4_1", "Q5_1", "Q4_K", "Q5_K") else 1
    scales = rng.standard_normal((len(blocks), n_halves)).astype(np.float16)
    blocks[:, at : at + 2 * n_halves] = scales.view(np.uint8)
    wanted = gguf.dequantize(blocks.reshape(17, -1), gguf.GGMLQuantizationType[dtype])
    check(blocks.reshape(-1), dtype, 17, wanted.shape[1], wanted)


@pytest.mark.parametrize("dtype", DTYPES)
def test_packs_from_any_alignment(dtype, rng):
    rows, wanted = quantized(rng, dtype, 3, 256)
    memory = np.concatenate([np.zeros(1, np.uint8), rows])
    assert_same_bits(dequantize_row(pack(memory[1:], dtype=dtype, n_rows=3, n_cols=256), 2), wanted[2])


def test_refuses_what_is_no_matrix():
    rows = np.zeros(34, np.uint8)
    with pytest.raises(InvalidRequest, match=r"pack: Q8_0 \[2, 32\]: rows has 34 bytes, wanted 68"):
        pack(rows, dtype="Q8_0", n_rows=2, n_cols=32)
    with pytest.raises(InvalidRequest, match=r"pack: Q8_0 \[1, 33\], wanted .* a multiple of 32"):
        pack(rows, dtype="Q8_0", n_rows=1, n_cols=33)
    with pytest.raises(InvalidRequest, match=r"pack: Q4_K \[1, 576\], wanted .* a multiple of 256"):
        pack(rows, dtype="Q4_K", n_rows=1, n_cols=576)
    with pytest.raises(InvalidRequest, match="wanted n_rows above 0"):
        pack(rows[:0], dtype="F32", n_rows=0, n_cols=4)
    with pytest.raises(InvalidRequest, match="is more than 2\\^64 bytes"):  # wraps to nothing
        pack(rows[:0], dtype="F32", n_rows=2**32, n_cols=2**30)
    with pytest.raises(InvalidRequest, match="dtype: 'Q3_K', wanted one of F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0"):
        pack(rows, dtype="Q3_K", n_rows=1, n_cols=32)


def test_refuses_rows_that_are_not_there(rng):
    w = pack(quantized(rng, "Q4_1", 3, 32)[0], dtype="Q4_1", n_rows=3, n_cols=32)
    with pytest.raises(InvalidRequest, match="row: 3, the weights have 3 rows"):
        dequantize_row(w, 3)
    with pytest.raises(InvalidRequest, match="out: length 31, wanted 32"):
        w.dequantize_row(0, np.empty(31, np.float32))
