// Q4_0 and Q4_1: one layout of nibbles, two formulas.

#include "kernels/linear/matmul_tiles_neon.h"

namespace kvtape::kernels::neon {
namespace {

template <bool with_minimum>
struct Q4 {
  static constexpr bool kWithMinimum = with_minimum;
  static constexpr size_t kRowLen = 32, kRowBytes = with_minimum ? 20 : 18;

  const std::byte* block;

  Q4(const std::byte* tile, size_t b) : block(tile + b * kRowBytes * kTileRows) {}

  template <int T>
  inline void dots(const QuantizedRows& x, size_t b, size_t n_cols, int32x4_t (&dot)[T][kVectors]) const {
    dot_quants<4, with_minimum ? 0 : 8, T>(block, x, b, n_cols, dot);
  }

  inline float32x4_t scale(size_t h) const { return load4_f16(block + 16 * kTileRows + 8 * h); }
  inline float32x4_t minimum(size_t h) const { return load4_f16(block + 18 * kTileRows + 8 * h); }
};

}  // namespace

void matmul_q4_0(const PackedMatrix& w, const QuantizedRows& x, const MatmulRange& range) noexcept {
  matmul_tiles<Q4<false>>(w, x, range);
}

void matmul_q4_1(const PackedMatrix& w, const QuantizedRows& x, const MatmulRange& range) noexcept {
  matmul_tiles<Q4<true>>(w, x, range);
}

}  // namespace kvtape::kernels::neon
