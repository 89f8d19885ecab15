// Q5_0 and Q5_1.

#include "kernels/linear/matmul_tiles_avx512.h"

namespace kvtape::kernels::avx512 {
namespace {

template <bool with_minimum>
struct Q5 {
  static constexpr bool kWithMinimum = with_minimum;
  static constexpr size_t kRowLen = 32, kRowBytes = with_minimum ? 24 : 22;

  const std::byte* block;

  Q5(const std::byte* tile, size_t b) : block(tile + b * kRowBytes * kTileRows) {}

  template <int T>
  inline void dots(const QuantizedRows& x, size_t b, size_t n_cols, __m512i (&dot)[T]) const {
    dot_quants<5, T>(block, x.q + b * kBlockLen, n_cols, dot);
    if (with_minimum) return;
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) {
      const __m512i zero = _mm512_slli_epi32(_mm512_set1_epi32(x.sum[t * (n_cols / kBlockLen) + b]), 4);
      dot[t] = _mm512_sub_epi32(dot[t], zero);
    }
  }

  inline __m512 scale() const { return load16_f16(block + 20 * kTileRows); }
  inline __m512 minimum() const { return load16_f16(block + 22 * kTileRows); }
};

}  // namespace

void matmul_q5_0(const PackedMatrix& w, const QuantizedRows& x, const MatmulRange& range) noexcept {
  matmul_tiles<Q5<false>>(w, x, range);
}

void matmul_q5_1(const PackedMatrix& w, const QuantizedRows& x, const MatmulRange& range) noexcept {
  matmul_tiles<Q5<true>>(w, x, range);
}

}  // namespace kvtape::kernels::avx512
