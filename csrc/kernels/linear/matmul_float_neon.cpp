#include "kernels/linear/matmul.h"
#include "kernels/linear/token_blocks.h"
#include "kernels/vector_neon.h"

namespace kvtape::kernels::neon {
namespace {

constexpr size_t kMaxTokens = 6;  // of a register block: 24 accumulators, 4 vectors of weights

struct F32 {
  static constexpr size_t kBytes = 4;
  static float32x4_t load4(const std::byte* w) { return vld1q_f32(reinterpret_cast<const float*>(w)); }
};
struct F16 {
  static constexpr size_t kBytes = 2;
  static float32x4_t load4(const std::byte* w) { return load4_f16(w); }
};
struct BF16 {
  static constexpr size_t kBytes = 2;
  static float32x4_t load4(const std::byte* w) {
    return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(reinterpret_cast<const uint16_t*>(w)), 16));
  }
};

// 16 rows of one tile times T tokens, a column at a time.
template <class Weight, int T>
void tile_tokens(const std::byte* tile, size_t n_cols, const float* x, size_t x_stride, float* y, size_t y_stride,
                 size_t n_rows) {
  float32x4_t acc[T][kVectors];
  for (int t = 0; t < T; ++t) {
    for (size_t h = 0; h < kVectors; ++h) acc[t][h] = vdupq_n_f32(0.0f);
  }
  for (size_t c = 0; c < n_cols; ++c) {
    float32x4_t column[kVectors];
#pragma GCC unroll 4
    for (size_t h = 0; h < kVectors; ++h) column[h] = Weight::load4(tile + (c * kTileRows + 4 * h) * Weight::kBytes);
#pragma GCC unroll 6
    for (int t = 0; t < T; ++t) {
#pragma GCC unroll 4
      for (size_t h = 0; h < kVectors; ++h) acc[t][h] = vfmaq_n_f32(acc[t][h], column[h], x[t * x_stride + c]);
    }
  }
  for (int t = 0; t < T; ++t) store_rows(y + t * y_stride, acc[t], n_rows);
}

using TileTokens = void(const std::byte*, size_t, const float*, size_t, float*, size_t, size_t);

template <class W>
constexpr TileTokens* kTileTokens[kMaxTokens] = {tile_tokens<W, 1>, tile_tokens<W, 2>, tile_tokens<W, 3>,
                                                 tile_tokens<W, 4>, tile_tokens<W, 5>, tile_tokens<W, 6>};

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

}  // namespace kvtape::kernels::neon
