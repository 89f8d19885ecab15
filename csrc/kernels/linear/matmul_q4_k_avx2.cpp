// Q4_K and Q5_K: one formula over 4 bits or 5.

#include "kernels/linear/matmul_tiles_avx2.h"

namespace kvtape::kernels::avx2 {
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
  inline void dots(const QuantizedRows& x, size_t b, size_t n_cols, __m256i (&dot)[T][2]) const {
    dot_quants<bits, T>(block, x.q + b * kBlockLen, n_cols, dot);
  }

  // Both products are exact: 11 bits times 6.
  inline __m256 scale(int h) const {
    return _mm256_mul_ps(load8_f16(super + 16 * h), load8_u8(block + kValueBytes * kTileRows + 8 * h));
  }
  inline __m256 minimum(int h) const {
    const __m256 m = _mm256_mul_ps(load8_f16(super + 2 * kTileRows + 16 * h),
                                   load8_u8(block + (kValueBytes + 1) * kTileRows + 8 * h));
    return _mm256_xor_ps(m, _mm256_set1_ps(-0.0f));
  }
};

}  // namespace

void matmul_q4_k(const PackedMatrix& w, const QuantizedRows& x, const MatmulRange& range) noexcept {
  matmul_tiles<K<4>>(w, x, range);
}

void matmul_q5_k(const PackedMatrix& w, const QuantizedRows& x, const MatmulRange& range) noexcept {
  matmul_tiles<K<5>>(w, x, range);
}

}  // namespace kvtape::kernels::avx2
