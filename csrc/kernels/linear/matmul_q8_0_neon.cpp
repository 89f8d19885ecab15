#include "kernels/linear/matmul_tiles_neon.h"

namespace kvtape::kernels::neon {
namespace {

struct Q8_0 {
  static constexpr bool kWithMinimum = false;
  static constexpr size_t kRowLen = 32, kRowBytes = 34;

  const std::byte* block;

  Q8_0(const std::byte* tile, size_t b) : block(tile + b * kRowBytes * kTileRows) {}

  template <int T>
  inline void dots(const QuantizedRows& x, size_t b, size_t n_cols, int32x4_t (&dot)[T][kVectors]) const {
    dot_quants<8, 0, T>(block, x, b, n_cols, dot);
  }

  inline float32x4_t scale(size_t h) const { return load4_f16(block + 32 * kTileRows + 8 * h); }
  inline float32x4_t minimum(size_t) const { return vdupq_n_f32(0.0f); }
};

}  // namespace

void matmul_q8_0(const PackedMatrix& w, const QuantizedRows& x, const MatmulRange& range) noexcept {
  matmul_tiles<Q8_0>(w, x, range);
}

}  // namespace kvtape::kernels::neon
