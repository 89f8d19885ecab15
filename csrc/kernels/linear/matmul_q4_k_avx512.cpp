// Q4_K and Q5_K: one formula over 4 bits or 5.

#include "kernels/linear/matmul_tiles_avx512.h"

namespace kvtape::kernels::avx512 {
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
  inline void dots(const QuantizedRows& x, size_t b, size_t n_cols, __m512i (&dot)[T]) const {
    dot_quants<bits, T>(block, x.q + b * kBlockLen, n_cols, dot);
  }

  // Both products are exact: 11 bits times 6.
  inline __m512 scale() const { return _mm512_mul_ps(load16_f16(super), load16_u8(block + kValueBytes * kTileRows)); }
  inline __m512 minimum() const {
    const __m512 m = _mm512_mul_ps(load16_f16(super + 2 * kTileRows), load16_u8(block + (kValueBytes + 1) * kTileRows));
    return _mm512_xor_ps(m, _mm512_set1_ps(-0.0f));
  }
};

}  // namespace

void matmul_q4_k(const PackedMatrix& w, const QuantizedRows& x, const MatmulRange& range) noexcept {
  matmul_tiles<K<4>>(w, x, range);
}

void matmul_q5_k(const PackedMatrix& w, const QuantizedRows& x, const MatmulRange& range) noexcept {
  matmul_tiles<K<5>>(w, x, range);
}

}  // namespace kvtape::kernels::avx512
