#include <immintrin.h>

#include "kernels/linear/matmul.h"
#include "kernels/linear/token_blocks.h"
#include "kernels/numerics.h"
#include "kernels/vector_avx2.h"

namespace kvtape::kernels::avx2 {
namespace {

struct F32 {
  static constexpr size_t kBytes = 4;
  static __m256 load8(const std::byte* w) { return _mm256_load_ps(reinterpret_cast<const float*>(w)); }
};
struct F16 {
  static constexpr size_t kBytes = 2;
  static __m256 load8(const std::byte* w) { return load8_f16(w); }
};
struct BF16 {
  static constexpr size_t kBytes = 2;
  static __m256 load8(const std::byte* w) {
    const __m128i half = _mm_load_si128(reinterpret_cast<const __m128i*>(w));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
  }
};

// 16 rows of one tile times T tokens, a column at a time: 2 loads (and widenings) of weights, then for each token a
// broadcast and 2 FMAs. FMAs have 4 cycles of latency and two units, so that 6 tokens (12 chains) are bound by the
// units, 16 products a cycle, and one token (2 chains) by latency: 16 or 8 bytes of weights a cycle, still more than
// memory gives.
template <class Weight, int T>
inline void tile_tokens(const std::byte* tile, size_t n_cols, const float* x, size_t x_stride, float* y,
                        size_t y_stride, size_t n_rows) {
  __m256 acc[T][2];
#pragma GCC unroll 6
  for (int t = 0; t < T; ++t) acc[t][0] = acc[t][1] = _mm256_setzero_ps();
  for (size_t c = 0; c < n_cols; ++c) {
    const std::byte* w = tile + c * kTileRows * Weight::kBytes;
    prefetch_ahead<T>(w, kTileRows * Weight::kBytes);
    const __m256 low = Weight::load8(w), high = Weight::load8(w + 8 * Weight::kBytes);
#pragma GCC unroll 6
    for (int t = 0; t < T; ++t) {
      const __m256 x8 = _mm256_broadcast_ss(x + t * x_stride + c);
      acc[t][0] = _mm256_fmadd_ps(low, x8, acc[t][0]);
      acc[t][1] = _mm256_fmadd_ps(high, x8, acc[t][1]);
    }
  }
#pragma GCC unroll 6
  for (int t = 0; t < T; ++t) store_rows(y + t * y_stride, acc[t][0], acc[t][1], n_rows);
}

template <class Weight>
void matmul(const PackedMatrix& w, const float* x, size_t x_stride, const MatmulRange& range) {
  for (size_t r = range.row_begin; r < range.row_end; r += kTileRows) {
    const std::byte* tile = w.data + r * w.n_cols * Weight::kBytes;
    const size_t n_rows = range.row_end - r;
    for (size_t t = 0; t < range.n_tokens;) {
      const float* from = x + t * x_stride;
      float* y = range.y + t * range.y_stride + r;
      const size_t n = tokens_of_pass(range.n_tokens - t, 6);
      switch (n) {
        case 1: tile_tokens<Weight, 1>(tile, w.n_cols, from, x_stride, y, range.y_stride, n_rows); break;
        case 2: tile_tokens<Weight, 2>(tile, w.n_cols, from, x_stride, y, range.y_stride, n_rows); break;
        case 3: tile_tokens<Weight, 3>(tile, w.n_cols, from, x_stride, y, range.y_stride, n_rows); break;
        case 4: tile_tokens<Weight, 4>(tile, w.n_cols, from, x_stride, y, range.y_stride, n_rows); break;
        case 5: tile_tokens<Weight, 5>(tile, w.n_cols, from, x_stride, y, range.y_stride, n_rows); break;
        default: tile_tokens<Weight, 6>(tile, w.n_cols, from, x_stride, y, range.y_stride, n_rows);
      }
      t += n;
    }
  }
}

}  // namespace

void matmul_f32(const PackedMatrix& w, const float* x, size_t x_stride, const MatmulRange& range) noexcept {
  matmul<F32>(w, x, x_stride, range);
}

void matmul_f16(const PackedMatrix& w, const float* x, size_t x_stride, const MatmulRange& range) noexcept {
  matmul<F16>(w, x, x_stride, range);
}

void matmul_bf16(const PackedMatrix& w, const float* x, size_t x_stride, const MatmulRange& range) noexcept {
  matmul<BF16>(w, x, x_stride, range);
}

}  // namespace kvtape::kernels::avx2
