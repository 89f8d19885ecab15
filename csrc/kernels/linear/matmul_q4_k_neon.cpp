// Q4_K and Q5_K: one formula over 4 bits or 5.

#include "kernels/linear/matmul_tiles_neon.h"

namespace kvtape::kernels::neon {
namespace {

template <int bits>
struct K {
  static constexpr size_t kValueBytes = bits == 4 ? 16 : 20, kBlockBytes = kValueBytes + 2;
  static constexpr size_t kRowLen = 256, kRowBytes = 4 + 8 * kBlockBytes;
  static constexpr bool kWithMinimum = true;

  const std::byte *super, *block;

  K(const std::byte* tile, size_t b)
      : super(tile + b / 8 * kRowBytes * kTileRows), block(super + (4 + b % 8 * kBlockBytes) * kTileRows) {}

  template <int T>
  inline void dots(const QuantizedRows& x, size_t b, size_t n_cols, int32x4_t (&dot)[T][kVectors]) const {
    dot_quants<bits, 0, T>(block, x, b, n_cols, dot);
  }

  // Both products are exact: 11 bits times 6.
  inline float32x4_t scale(size_t h) const {
    return vmulq_f32(load4_f16(super + 8 * h), load4_u8(block + kValueBytes * kTileRows + 4 * h));
  }
  inline float32x4_t minimum(size_t h) const {
    const std::byte* m = block + (kValueBytes + 1) * kTileRows + 4 * h;
    return vnegq_f32(vmulq_f32(load4_f16(super + 2 * kTileRows + 8 * h), load4_u8(m)));
  }
};

}  // namespace

void matmul_q4_k(const PackedMatrix& w, const QuantizedRows& x, const MatmulRange& range) noexcept {
  matmul_tiles<K<4>>(w, x, range);
}

void matmul_q5_k(const PackedMatrix& w, const QuantizedRows& x, const MatmulRange& range) noexcept {
  matmul_tiles<K<5>>(w, x, range);
}

}  // namespace kvtape::kernels::neon
