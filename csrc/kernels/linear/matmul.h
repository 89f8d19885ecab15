#pragma once
// y[t, r] = Σ_k x[t, k] * w[r, k]  for output rows r in [row_begin, row_end), tokens t in [0, n_tokens)
//   y: rows of y_stride floats; row_begin and row_end are multiples of kTileRows, or row_end = n_rows
//
// Quantised weights (Q8_0, Q4_0, Q4_1) meet QuantizedRows. Per block, dot = Σ q_w * q_x is an exact integer, and
//   Q8_0   acc = fma(d_w * d_x, float(dot), acc)
//   Q4_0   the same with dot = Σ n_w * q_x - 8 * sum_x
//   Q4_1   acc = fma(d_w * d_x, float(dot), acc); acc = fma(m_w, s_x, acc)
// The blocks of a row are cut in 4 contiguous chains (chain_begin), each ascending from +0; y = ((c0 + c1) + c2) + c3.
// Float weights (F32, F16, BF16) meet float32 rows: one ascending chain, acc = fma(w, x, acc) from +0.
// So one output is one scalar chain, whatever the batch: n_tokens = 1 and n_tokens = 512 give the same bits.
//
// Packed layout: tiles of kTileRows = 16 output rows, rows past n_rows zero. A tile's blocks ascend, a block being
//   Q8_0   q: 8 groups of 4 columns x [16 rows][4] int8 (512 B)         d: [16] f16 (32 B)               544 B
//   Q4_0   n: 4 groups of 4 columns x [16 rows][4] bytes (256 B)        d: [16] f16 (32 B)               288 B
//   Q4_1   the same                                                     d: [16] f16, m: [16] f16 (64 B)  320 B
//   float  per column: [16] elements
// A nibble byte of group g, column j of the group holds column 4g + j in its low half and 16 + 4g + j in its high half.
// Packed data is 64-byte aligned.

#include <cstddef>
#include <cstdint>

#include "kernels/linear/quantize_rows.h"

namespace kvtape::kernels {

struct PackedMatrix {
  const std::byte* data;
  std::size_t n_rows, n_cols;  // n_cols: a multiple of 32 for quantised types
};

struct MatmulRange {
  std::size_t row_begin, row_end;
  std::size_t n_tokens;
  float* y;
  std::size_t y_stride;
};

// x.q: [n_tokens, n_cols] and so on, dense
using MatmulQuantized = void(const PackedMatrix& w, const QuantizedRows& x, const MatmulRange& range) noexcept;
// x: [n_tokens, n_cols], rows x_stride floats apart
using MatmulFloat = void(const PackedMatrix& w, const float* x, std::size_t x_stride,
                         const MatmulRange& range) noexcept;

namespace ref {
MatmulQuantized matmul_q8_0, matmul_q4_0, matmul_q4_1;
MatmulFloat matmul_f32, matmul_f16, matmul_bf16;
}  // namespace ref
namespace avx2 {
MatmulQuantized matmul_q8_0, matmul_q4_0, matmul_q4_1;
MatmulFloat matmul_f32, matmul_f16, matmul_bf16;
}  // namespace avx2
namespace avx512 { MatmulQuantized matmul_q8_0, matmul_q4_0, matmul_q4_1; }  // namespace avx512

}  // namespace kvtape::kernels
