// Q4_0 and Q4_1: one layout of nibbles, two formulas.

#include <immintrin.h>

#include "kernels/linear/matmul.h"
#include "kernels/linear/token_blocks.h"
#include "kernels/numerics.h"
#include "kernels/vector_avx512.h"

namespace kvtape::kernels::avx512 {
namespace {

constexpr size_t kNibbleBytes = 256;
constexpr size_t kMaxTokens = 8;  // of a register block

template <bool with_minimum>
constexpr size_t block_bytes = kNibbleBytes + 2 * kTileRows * (with_minimum ? 2 : 1);

// 16 rows of one tile times T tokens: a register holds 4 columns of all 16 rows, and one vpdpbusd (unsigned nibbles by
// signed activations, summed in int32 without saturation) does 64 products.
//
// Zen 4 multiplies on two pipes of 256 bits, one such instruction a cycle, and the same pipes do products and FMAs. A
// block of 512 products takes 8 dot products, 1 product and 2 FMAs (Q4_0: 1) a token: at most 512 / 11 = 46.5 (Q4_0:
// 51.2) products a cycle. Everything else, unpacking (12 operations shared by the tokens), conversions and
// subtractions, runs on the other two pipes, broadcasts on the load ports: 45 (49) were measured from 5 tokens on,
// where there are enough independent chains for the 4 cycles a dot product takes. Registers at 8 tokens: 8 integer
// sums, 8 float sums, 2 of weights, 2 of scales, 1 mask.
//
// One token: 18 cycles a block, 18 bytes a cycle, above what memory gives.
template <bool with_minimum, int T>
void tile_tokens(const std::byte* tile, size_t n_cols, const QuantizedRows& x, float* y, size_t y_stride,
                 size_t n_rows) {
  const size_t n_blocks = n_cols / kBlockLen;
  const __m512i low_half = _mm512_set1_epi8(15);
  __m512 total[T], acc[T];
  for (size_t c = 0; c < kChains; ++c) {
    for (int t = 0; t < T; ++t) acc[t] = _mm512_setzero_ps();
    const size_t end = chain_begin(c + 1, n_blocks);
    for (size_t b = chain_begin(c, n_blocks); b < end; ++b) {
      const std::byte* w = tile + b * block_bytes<with_minimum>;
      const int8_t* q = x.q + b * kBlockLen;
      prefetch_ahead<T>(w, block_bytes<with_minimum>);
      __m512i dot[T];
      for (int t = 0; t < T; ++t) dot[t] = _mm512_setzero_si512();
#pragma GCC unroll 4
      for (int g = 0; g < 4; ++g) {
        const __m512i nibbles = _mm512_loadu_si512(w + 64 * g);
        const __m512i low = _mm512_and_si512(nibbles, low_half);
        const __m512i high = _mm512_and_si512(_mm512_srli_epi16(nibbles, 4), low_half);
#pragma GCC unroll 8
        for (int t = 0; t < T; ++t) dot[t] = _mm512_dpbusd_epi32(dot[t], low, broadcast4(q + t * n_cols + 4 * g));
#pragma GCC unroll 8
        for (int t = 0; t < T; ++t) dot[t] = _mm512_dpbusd_epi32(dot[t], high, broadcast4(q + t * n_cols + 4 * g + 16));
      }
      const __m512 d_w = load16_f16(w + kNibbleBytes);
      const __m512 m_w = with_minimum ? load16_f16(w + kNibbleBytes + 32) : d_w;
#pragma GCC unroll 8
      for (int t = 0; t < T; ++t) {
        const size_t at = t * n_blocks + b;
        if (!with_minimum) dot[t] = _mm512_sub_epi32(dot[t], _mm512_slli_epi32(_mm512_set1_epi32(x.sum[at]), 3));
        const __m512 d = _mm512_mul_ps(d_w, _mm512_set1_ps(x.d[at]));
        acc[t] = _mm512_fmadd_ps(d, _mm512_cvtepi32_ps(dot[t]), acc[t]);
        if (with_minimum) acc[t] = _mm512_fmadd_ps(m_w, _mm512_set1_ps(x.s[at]), acc[t]);
      }
    }
    for (int t = 0; t < T; ++t) total[t] = c == 0 ? acc[t] : _mm512_add_ps(total[t], acc[t]);
  }
  for (int t = 0; t < T; ++t) store_rows(y + t * y_stride, total[t], n_rows);
}

using TileTokens = void(const std::byte*, size_t, const QuantizedRows&, float*, size_t, size_t);

template <bool m>
constexpr TileTokens* kTileTokens[kMaxTokens] = {tile_tokens<m, 1>, tile_tokens<m, 2>, tile_tokens<m, 3>,
                                                 tile_tokens<m, 4>, tile_tokens<m, 5>, tile_tokens<m, 6>,
                                                 tile_tokens<m, 7>, tile_tokens<m, 8>};

template <bool with_minimum>
void matmul(const PackedMatrix& w, const QuantizedRows& x, const MatmulRange& range) {
  const size_t n_blocks = w.n_cols / kBlockLen;
  for (size_t r = range.row_begin; r < range.row_end; r += kTileRows) {
    const std::byte* tile = w.data + r / kTileRows * n_blocks * block_bytes<with_minimum>;
    for (size_t t = 0; t < range.n_tokens;) {
      const QuantizedRows from = rows_from(x, t, w.n_cols);
      const size_t n = tokens_of_pass(range.n_tokens - t, kMaxTokens);
      TileTokens* const tokens = kTileTokens<with_minimum>[n - 1];
      tokens(tile, w.n_cols, from, range.y + t * range.y_stride + r, range.y_stride, range.row_end - r);
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

}  // namespace kvtape::kernels::avx512
