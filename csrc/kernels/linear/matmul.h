#pragma once
// y[t, r] = Σ_k x[t, k] * w[r, k]  for output rows r in [row_begin, row_end), tokens t in [0, n_tokens)
//   y: rows of y_stride floats; row_begin and row_end are multiples of kTileRows, or row_end = n_rows
//
// Quantised weights meet QuantizedRows. Per block of 32 columns, dot = Σ n_w * q_x is an exact integer, and
//   Q8_0, Q4_0, Q5_0   acc = fma(d_w * d_x, float(dot - zero * sum_x), acc)                    zero: 0, 8, 16
//   Q4_1, Q5_1         acc = fma(d_w * d_x, float(dot), acc); acc = fma(m_w, s_x, acc)
//   Q4_K, Q5_K         the same with d_w = d * sc and m_w = -(dmin * m), both exact: 11 bits times 6
//   Q6_K               acc = fma(d * d_x, float(sc_0 * (dot_0 - 32 * half_0) + sc_1 * (dot_1 - 32 * half_1)), acc), where
//                      0 is the first 16 columns and 1 the others; the integer is at most 32 * 32 * 127 * 128 < 2^24
// The blocks of a row are cut in 4 contiguous chains (chain_begin), each ascending from +0; y = ((c0 + c1) + c2) + c3.
// Blocks are always those of 32 columns, so a chain may begin inside a block of 256 of the K types.
// Float weights (F32, F16, BF16) meet float32 rows: one ascending chain, acc = fma(w, x, acc) from +0.
// So one output is one scalar chain, whatever the batch: n_tokens = 1 and n_tokens = 512 give the same bits.
//
// Packed layout. A row is a string of units: words of 4 bytes, halves (f16), bytes, Q6_K's pairs of int8. A tile is
// kTileRows = 16 rows side by side: the unit of u bytes at byte o of row r is at byte 16 o + u r of the tile. Rows past
// n_rows are zero. The units of a row are
//   Q8_0    per 32 columns    8 words q | d                                        34 B, tile  544 B
//   Q4_0                      4 words n | d                                        18 B        288 B
//   Q4_1                      4 words n | d | m                                    20 B        320 B
//   Q5_0                      4 words n | word h | d                               22 B        352 B
//   Q5_1                      4 words n | word h | d | m                           24 B        384 B
//   Q4_K    per 256 columns   d | dmin | 8 x (4 words n | sc byte | m byte)        148 B       2368 B
//   Q5_K                      d | dmin | 8 x (4 words n | word h | sc | m)         180 B       2880 B
//   Q6_K                      d | 8 x (4 words n | 2 words h | pair sc_0, sc_1)    210 B       3360 B
//   float   per column        the element
// Byte j of word g of q is column 4g + j. Byte j of word g of n holds bits 0-3 of column 4g + j in its low half and of
// 16 + 4g + j in its high half. Byte j of h (Q5): bit g is bit 4 of column 4g + j, bit 4 + g that of 16 + 4g + j. Byte j
// of word p of h (Q6_K): bits 2g, 2g + 1 are bits 4-5 of column 16 p + 4g + j.
// Packed data is 64-byte aligned.

#include <cstddef>
#include <cstdint>

#include "kernels/linear/quantize_rows.h"

namespace kvtape::kernels {

struct PackedMatrix {
  const std::byte* data;
  std::size_t n_rows, n_cols;  // n_cols: a multiple of 32 for quantised types, of 256 for the K types
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
MatmulQuantized matmul_q8_0, matmul_q4_0, matmul_q4_1, matmul_q5_0, matmul_q5_1;
MatmulQuantized matmul_q4_k, matmul_q5_k, matmul_q6_k;
MatmulFloat matmul_f32, matmul_f16, matmul_bf16;
}  // namespace ref
namespace avx2 {
MatmulQuantized matmul_q8_0, matmul_q4_0, matmul_q4_1, matmul_q5_0, matmul_q5_1;
MatmulQuantized matmul_q4_k, matmul_q5_k, matmul_q6_k;
MatmulFloat matmul_f32, matmul_f16, matmul_bf16;
}  // namespace avx2
namespace avx512 {
MatmulQuantized matmul_q8_0, matmul_q4_0, matmul_q4_1, matmul_q5_0, matmul_q5_1;
MatmulQuantized matmul_q4_k, matmul_q5_k, matmul_q6_k;
MatmulFloat matmul_f32, matmul_f16, matmul_bf16;
}  // namespace avx512
namespace neon {
MatmulQuantized matmul_q8_0, matmul_q4_0, matmul_q4_1, matmul_q5_0, matmul_q5_1;
MatmulQuantized matmul_q4_k, matmul_q5_k, matmul_q6_k;
MatmulFloat matmul_f32, matmul_f16, matmul_bf16;
}  // namespace neon

}  // namespace kvtape::kernels
