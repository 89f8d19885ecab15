// Q4_0 and Q4_1: one layout of nibbles, two formulas.

#include <immintrin.h>

#include "kernels/linear/matmul.h"
#include "kernels/linear/token_blocks.h"
#include "kernels/numerics.h"
#include "kernels/vector_avx2.h"

namespace kvtape::kernels::avx2 {
namespace {

constexpr size_t kNibbleBytes = 256;

template <bool with_minimum>
constexpr size_t block_bytes = kNibbleBytes + 2 * kTileRows * (with_minimum ? 2 : 1);

// 16 rows of one tile times T tokens. An int16 lane of `dot` sums the 16 products of one row that fall on it, at most
// 16 * 15 * 127 = 30480, and so fits.
//
// Vector operations a block of 512 products: 32 to unpack (8 loads, 8 shifts, 16 ands), shared by the tokens; then for
// each token 16 maddubs, 14 adds, 2 madd, 2 conversions, 2 products, 4 FMAs (Q4_0: 2, and 2 subtractions) and 10 loads
// that broadcast. 4 tokens: 46 operations each besides loads, 44 products a cycle on 4 vector pipes; 33 were measured
// (AMD EPYC at 3.7 GHz), the two pipes that multiply being the busiest. One token: 62 operations for 320 bytes, 20
// bytes a cycle: bound by memory outside of the caches. GCC keeps the float sums of 4 tokens on the stack, one
// folded load and one store a block; the integer sums but one stay in registers.
template <bool with_minimum, int T>
inline void tile_tokens(const std::byte* tile, size_t n_cols, const QuantizedRows& x, float* y, size_t y_stride,
                        size_t n_rows) {
  const size_t n_blocks = n_cols / kBlockLen;
  const __m256i low_half = _mm256_set1_epi8(15);
  __m256 total[T][2], acc[T][2];
  for (size_t c = 0; c < kChains; ++c) {
    for (int t = 0; t < T; ++t) acc[t][0] = acc[t][1] = _mm256_setzero_ps();
    const size_t end = chain_begin(c + 1, n_blocks);
    for (size_t b = chain_begin(c, n_blocks); b < end; ++b) {
      const std::byte* w = tile + b * block_bytes<with_minimum>;
      const int8_t* q = x.q + b * kBlockLen;
      prefetch_ahead<T>(w, block_bytes<with_minimum>);
      __m256i dot[T][2];
#pragma GCC unroll 4
      for (int g = 0; g < 4; ++g) {
        const __m256i* group = reinterpret_cast<const __m256i*>(w) + 2 * g;
        const __m256i w0 = _mm256_load_si256(group), w1 = _mm256_load_si256(group + 1);
        const __m256i low0 = _mm256_and_si256(w0, low_half), low1 = _mm256_and_si256(w1, low_half);
        const __m256i high0 = _mm256_and_si256(_mm256_srli_epi16(w0, 4), low_half);
        const __m256i high1 = _mm256_and_si256(_mm256_srli_epi16(w1, 4), low_half);
#pragma GCC unroll 4
        for (int t = 0; t < T; ++t) {
          const __m256i x_low = broadcast4(q + t * n_cols + 4 * g);
          const __m256i x_high = broadcast4(q + t * n_cols + 4 * g + 16);
          const __m256i l0 = _mm256_maddubs_epi16(low0, x_low), l1 = _mm256_maddubs_epi16(low1, x_low);
          dot[t][0] = g == 0 ? l0 : _mm256_add_epi16(dot[t][0], l0);
          dot[t][1] = g == 0 ? l1 : _mm256_add_epi16(dot[t][1], l1);
          dot[t][0] = _mm256_add_epi16(dot[t][0], _mm256_maddubs_epi16(high0, x_high));
          dot[t][1] = _mm256_add_epi16(dot[t][1], _mm256_maddubs_epi16(high1, x_high));
        }
      }
      const std::byte* scales = w + kNibbleBytes;
#pragma GCC unroll 4
      for (int t = 0; t < T; ++t) {
        const __m256 d_x = _mm256_broadcast_ss(x.d + t * n_blocks + b);
#pragma GCC unroll 2
        for (int h = 0; h < 2; ++h) {
          __m256i sum = _mm256_madd_epi16(dot[t][h], _mm256_set1_epi16(1));
          if (!with_minimum) sum = _mm256_sub_epi32(sum, _mm256_set1_epi32(8 * x.sum[t * n_blocks + b]));
          const __m256 d = _mm256_mul_ps(load8_f16(scales + 16 * h), d_x);
          acc[t][h] = _mm256_fmadd_ps(d, _mm256_cvtepi32_ps(sum), acc[t][h]);
          if (with_minimum) {
            const __m256 s_x = _mm256_broadcast_ss(x.s + t * n_blocks + b);
            acc[t][h] = _mm256_fmadd_ps(load8_f16(scales + 32 + 16 * h), s_x, acc[t][h]);
          }
        }
      }
    }
    for (int t = 0; t < T; ++t) {
      total[t][0] = c == 0 ? acc[t][0] : _mm256_add_ps(total[t][0], acc[t][0]);
      total[t][1] = c == 0 ? acc[t][1] : _mm256_add_ps(total[t][1], acc[t][1]);
    }
  }
  for (int t = 0; t < T; ++t) store_rows(y + t * y_stride, total[t][0], total[t][1], n_rows);
}

template <bool with_minimum>
void matmul(const PackedMatrix& w, const QuantizedRows& x, const MatmulRange& range) {
  const size_t n_blocks = w.n_cols / kBlockLen;
  for (size_t r = range.row_begin; r < range.row_end; r += kTileRows) {
    const std::byte* tile = w.data + r / kTileRows * n_blocks * block_bytes<with_minimum>;
    const size_t n_rows = range.row_end - r;
    for (size_t t = 0; t < range.n_tokens;) {
      const QuantizedRows from = rows_from(x, t, w.n_cols);
      float* y = range.y + t * range.y_stride + r;
      const size_t n = tokens_of_pass(range.n_tokens - t, 4);
      switch (n) {
        case 1: tile_tokens<with_minimum, 1>(tile, w.n_cols, from, y, range.y_stride, n_rows); break;
        case 2: tile_tokens<with_minimum, 2>(tile, w.n_cols, from, y, range.y_stride, n_rows); break;
        case 3: tile_tokens<with_minimum, 3>(tile, w.n_cols, from, y, range.y_stride, n_rows); break;
        default: tile_tokens<with_minimum, 4>(tile, w.n_cols, from, y, range.y_stride, n_rows);
      }
      t += n;
    }
  }
}

}  // namespace

void matmul_q4_0(const PackedMatrix& w, const QuantizedRows& x, const MatmulRange& range) noexcept {
  matmul<false>(w, x, range);
}

void matmul_q4_1(const PackedMatrix& w, const QuantizedRows& x, const MatmulRange& range) noexcept {
  matmul<true>(w, x, range);
}

}  // namespace kvtape::kernels::avx2
