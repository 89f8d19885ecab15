#include <immintrin.h>

#include "kernels/linear/matmul.h"
#include "kernels/linear/token_blocks.h"
#include "kernels/numerics.h"
#include "kernels/vector_avx2.h"

namespace kvtape::kernels::avx2 {
namespace {

constexpr size_t kBlockBytes = 544;
constexpr size_t kScaleOffset = 512;

// Four products a lane, exactly. maddubs takes unsigned by signed: |w| (128 for -128) and x with the sign of w; x is
// never -128. A pair is at most 2 * 128 * 127 = 32512 and fits int16; two pairs do not, so they widen here.
inline __m256i dot4(__m256i w, __m256i w_magnitude, __m256i x) {
  const __m256i pairs = _mm256_maddubs_epi16(w_magnitude, _mm256_sign_epi8(x, w));
  return _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
}

// 16 rows of one tile times T tokens.
//
// Vector operations a block of 512 products: 16 magnitudes, shared by the tokens; then for each token 16 signs,
// 16 maddubs, 16 madd, 14 adds, 2 conversions, 2 products, 2 FMAs and 9 loads that broadcast. On Zen 4 signs,
// magnitudes, products and FMAs share two pipes: 28 cycles a token at 4 tokens, 18.3 products a cycle, and 17.8 were
// measured. One token: 84 operations for 544 bytes, bound by memory outside of the caches.
//
// Tried: signs by xor with a correction shared by the tokens (19.1, but less than this where another hyperthread has a
// share of the core, and slower for 1 to 3 tokens); weights as two nibbles, int16 sums over the whole block (14 to 16);
// int16 weights and activations by madd (11); 8 rows at a time, which spills nothing (17.4).
template <int T>
inline void tile_tokens(const std::byte* tile, size_t n_cols, const QuantizedRows& x, float* y, size_t y_stride,
                        size_t n_rows) {
  const size_t n_blocks = n_cols / kBlockLen;
  __m256 total[T][2], acc[T][2];
  for (size_t c = 0; c < kChains; ++c) {
    for (int t = 0; t < T; ++t) acc[t][0] = acc[t][1] = _mm256_setzero_ps();
    const size_t end = chain_begin(c + 1, n_blocks);
    for (size_t b = chain_begin(c, n_blocks); b < end; ++b) {
      const std::byte* w = tile + b * kBlockBytes;
      const int8_t* q = x.q + b * kBlockLen;
      prefetch_ahead<T>(w, kBlockBytes);
      __m256i dot[T][2];
#pragma GCC unroll 8
      for (int g = 0; g < 8; ++g) {
        const __m256i* group = reinterpret_cast<const __m256i*>(w) + 2 * g;
        const __m256i w0 = _mm256_load_si256(group), w1 = _mm256_load_si256(group + 1);
        const __m256i magnitude0 = _mm256_abs_epi8(w0), magnitude1 = _mm256_abs_epi8(w1);
#pragma GCC unroll 4
        for (int t = 0; t < T; ++t) {
          const __m256i x4 = broadcast4(q + t * n_cols + 4 * g);
          const __m256i dot0 = dot4(w0, magnitude0, x4), dot1 = dot4(w1, magnitude1, x4);
          dot[t][0] = g == 0 ? dot0 : _mm256_add_epi32(dot[t][0], dot0);
          dot[t][1] = g == 0 ? dot1 : _mm256_add_epi32(dot[t][1], dot1);
        }
      }
#pragma GCC unroll 4
      for (int t = 0; t < T; ++t) {
        const __m256 d_x = _mm256_broadcast_ss(x.d + t * n_blocks + b);
#pragma GCC unroll 2
        for (int h = 0; h < 2; ++h) {
          const __m256 d = _mm256_mul_ps(load8_f16(w + kScaleOffset + 16 * h), d_x);
          acc[t][h] = _mm256_fmadd_ps(d, _mm256_cvtepi32_ps(dot[t][h]), acc[t][h]);
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

}  // namespace

void matmul_q8_0(const PackedMatrix& w, const QuantizedRows& x, const MatmulRange& range) noexcept {
  const size_t n_blocks = w.n_cols / kBlockLen;
  for (size_t r = range.row_begin; r < range.row_end; r += kTileRows) {
    const std::byte* tile = w.data + r / kTileRows * n_blocks * kBlockBytes;
    const size_t n_rows = range.row_end - r;
    for (size_t t = 0; t < range.n_tokens;) {
      const QuantizedRows from = rows_from(x, t, w.n_cols);
      float* y = range.y + t * range.y_stride + r;
      const size_t n = tokens_of_pass(range.n_tokens - t, 4);
      switch (n) {
        case 1: tile_tokens<1>(tile, w.n_cols, from, y, range.y_stride, n_rows); break;
        case 2: tile_tokens<2>(tile, w.n_cols, from, y, range.y_stride, n_rows); break;
        case 3: tile_tokens<3>(tile, w.n_cols, from, y, range.y_stride, n_rows); break;
        default: tile_tokens<4>(tile, w.n_cols, from, y, range.y_stride, n_rows);
      }
      t += n;
    }
  }
}

}  // namespace kvtape::kernels::avx2
