#include <immintrin.h>

#include "kernels/linear/matmul.h"
#include "kernels/linear/token_blocks.h"
#include "kernels/numerics.h"
#include "kernels/vector_avx512.h"

namespace kvtape::kernels::avx512 {
namespace {

constexpr size_t kMaxTokens = 8;  // of a register block

struct F32 {
  static constexpr size_t kBytes = 4;
  static __m512 load16(const std::byte* w) { return _mm512_load_ps(w); }
};
struct F16 {
  static constexpr size_t kBytes = 2;
  static __m512 load16(const std::byte* w) { return load16_f16(w); }
};
struct BF16 {
  static constexpr size_t kBytes = 2;
  static __m512 load16(const std::byte* w) {
    const __m256i half = _mm256_load_si256(reinterpret_cast<const __m256i*>(w));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
  }
};

// 16 rows of one tile times T tokens, a column at a time: one load (and widening) of weights, then for each token one
// FMA that broadcasts from memory. FMAs have 4 cycles of latency; Zen 4 starts one of 512 bits a cycle: from 4 tokens on
// that bounds it, 16 products a cycle, and 15 to 16 were measured. One token is bound by latency, 4 products, which is
// 8 bytes of F16 weights a cycle and still more than memory gives.
template <class Weight, int T>
void tile_tokens(const std::byte* tile, size_t n_cols, const float* x, size_t x_stride, float* y, size_t y_stride,
                 size_t n_rows) {
  __m512 acc[T];
  for (int t = 0; t < T; ++t) acc[t] = _mm512_setzero_ps();
  for (size_t c = 0; c < n_cols; ++c) {
    const std::byte* w = tile + c * kTileRows * Weight::kBytes;
    prefetch_ahead<T>(w, kTileRows * Weight::kBytes);
    const __m512 column = Weight::load16(w);
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) acc[t] = _mm512_fmadd_ps(column, _mm512_set1_ps(x[t * x_stride + c]), acc[t]);
  }
  for (int t = 0; t < T; ++t) store_rows(y + t * y_stride, acc[t], n_rows);
}

using TileTokens = void(const std::byte*, size_t, const float*, size_t, float*, size_t, size_t);

template <class W>
constexpr TileTokens* kTileTokens[kMaxTokens] = {tile_tokens<W, 1>, tile_tokens<W, 2>, tile_tokens<W, 3>,
                                                 tile_tokens<W, 4>, tile_tokens<W, 5>, tile_tokens<W, 6>,
                                                 tile_tokens<W, 7>, tile_tokens<W, 8>};

template <class Weight>
void matmul(const PackedMatrix& w, const float* x, size_t x_stride, const MatmulRange& range) {
  for (size_t r = range.row_begin; r < range.row_end; r += kTileRows) {
    const std::byte* tile = w.data + r * w.n_cols * Weight::kBytes;
    for (size_t t = 0; t < range.n_tokens;) {
      const size_t n = tokens_of_pass(range.n_tokens - t, kMaxTokens);
      TileTokens* const tokens = kTileTokens<Weight>[n - 1];
      tokens(tile, w.n_cols, x + t * x_stride, x_stride, range.y + t * range.y_stride + r, range.y_stride,
             range.row_end - r);
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

}  // namespace kvtape::kernels::avx512
