#include <immintrin.h>

#include "kernels/linear/matmul.h"
#include "kernels/linear/token_blocks.h"
#include "kernels/numerics.h"
#include "kernels/vector_avx512.h"

namespace kvtape::kernels::avx512 {
namespace {

constexpr size_t kBlockBytes = 544;
constexpr size_t kScaleOffset = 512;
constexpr size_t kMaxTokens = 8;  // of a register block

// 16 rows of one tile times T tokens, as in matmul_q4_avx512.cpp. vpdpbusd wants unsigned weights: w + 128, which is a
// flipped top bit, and 128 * sum_x taken off. Σ (w + 128) x is at most 32 * 255 * 127 and exact.
//
// A block of 512 products takes 8 dot products, 1 product and 1 FMA a token on the pipes that multiply: at most 51.2
// products a cycle; 49 were measured from 5 tokens on. The flips (8 a block, shared), the correction and the
// conversion run on the other two pipes. One token: 19 cycles a block, 28 bytes a cycle, above what memory gives.
template <int T>
void tile_tokens(const std::byte* tile, size_t n_cols, const QuantizedRows& x, float* y, size_t y_stride,
                 size_t n_rows) {
  const size_t n_blocks = n_cols / kBlockLen;
  const __m512i top_bit = _mm512_set1_epi8(-128);
  __m512 total[T], acc[T];
  for (size_t c = 0; c < kChains; ++c) {
    for (int t = 0; t < T; ++t) acc[t] = _mm512_setzero_ps();
    const size_t end = chain_begin(c + 1, n_blocks);
    for (size_t b = chain_begin(c, n_blocks); b < end; ++b) {
      const std::byte* w = tile + b * kBlockBytes;
      const int8_t* q = x.q + b * kBlockLen;
      prefetch_ahead<T>(w, kBlockBytes);
      __m512i dot[T];
      for (int t = 0; t < T; ++t) dot[t] = _mm512_setzero_si512();
#pragma GCC unroll 8
      for (int g = 0; g < 8; ++g) {
        const __m512i raised = _mm512_xor_si512(_mm512_loadu_si512(w + 64 * g), top_bit);
#pragma GCC unroll 8
        for (int t = 0; t < T; ++t) dot[t] = _mm512_dpbusd_epi32(dot[t], raised, broadcast4(q + t * n_cols + 4 * g));
      }
      const __m512 d_w = load16_f16(w + kScaleOffset);
#pragma GCC unroll 8
      for (int t = 0; t < T; ++t) {
        const size_t at = t * n_blocks + b;
        const __m512i exact = _mm512_sub_epi32(dot[t], _mm512_slli_epi32(_mm512_set1_epi32(x.sum[at]), 7));
        const __m512 d = _mm512_mul_ps(d_w, _mm512_set1_ps(x.d[at]));
        acc[t] = _mm512_fmadd_ps(d, _mm512_cvtepi32_ps(exact), acc[t]);
      }
    }
    for (int t = 0; t < T; ++t) total[t] = c == 0 ? acc[t] : _mm512_add_ps(total[t], acc[t]);
  }
  for (int t = 0; t < T; ++t) store_rows(y + t * y_stride, total[t], n_rows);
}

using TileTokens = void(const std::byte*, size_t, const QuantizedRows&, float*, size_t, size_t);

constexpr TileTokens* kTileTokens[kMaxTokens] = {tile_tokens<1>, tile_tokens<2>, tile_tokens<3>, tile_tokens<4>,
                                                 tile_tokens<5>, tile_tokens<6>, tile_tokens<7>, tile_tokens<8>};

}  // namespace

void matmul_q8_0(const PackedMatrix& w, const QuantizedRows& x, const MatmulRange& range) noexcept {
  const size_t n_blocks = w.n_cols / kBlockLen;
  for (size_t r = range.row_begin; r < range.row_end; r += kTileRows) {
    const std::byte* tile = w.data + r / kTileRows * n_blocks * kBlockBytes;
    for (size_t t = 0; t < range.n_tokens;) {
      const QuantizedRows from = rows_from(x, t, w.n_cols);
      const size_t n = tokens_of_pass(range.n_tokens - t, kMaxTokens);
      kTileTokens[n - 1](tile, w.n_cols, from, range.y + t * range.y_stride + r, range.y_stride, range.row_end - r);
      t += n;
    }
  }
}

}  // namespace kvtape::kernels::avx512
