// Q5_0 and Q5_1.

#include "kernels/linear/matmul_tiles_neon.h"

namespace kvtape::kernels::neon {
namespace {

template <bool with_minimum>
struct Q5 {
  static constexpr bool kWithMinimum = with_minimum;
  static constexpr size_t kRowLen = 32, kRowBytes = with_minimum ? 24 : 22;

  const std::byte* block;

  Q5(const std::byte* tile, size_t b) : block(tile + b * kRowBytes * kTileRows) {}

  template <int T>
  inline void dots(const QuantizedRows& x, size_t b, size_t n_cols, int32x4_t (&dot)[T][kVectors]) const {
    dot_quants<5, with_minimum ? 0 : 16, T>(block, x, b, n_cols, dot);
  }

  inline float32x4_t scale(size_t h) const { return load4_f16(block + 20 * kTileRows + 8 * h); }
  inline float32x4_t minimum(size_t h) const { return load4_f16(block + 22 * kTileRows + 8 * h); }
};

}  // namespace

void matmul_q5_0(const PackedMatrix& w, const QuantizedRows& x, const MatmulRange& range) noexcept {
  matmul_tiles<Q5<false>>(w, x, range);
}

void matmul_q5_1(const PackedMatrix& w, const QuantizedRows& x, const MatmulRange& range) noexcept {
  matmul_tiles<Q5<true>>(w, x, range);
}

}  // namespace kvtape::kernels::neon
