// Q5_0 and Q5_1.

#include "kernels/linear/matmul_tiles_avx2.h"

namespace kvtape::kernels::avx2 {
namespace {

template <bool with_minimum>
struct Q5 {
  static constexpr bool kWithMinimum = with_minimum;
  static constexpr size_t kRowLen = 32, kRowBytes = with_minimum ? 24 : 22;

  const std::byte* block;

  Q5(const std::byte* tile, size_t b) : block(tile + b * kRowBytes * kTileRows) {}

  template <int T>
  inline void dots(const QuantizedRows& x, size_t b, size_t n_cols, __m256i (&dot)[T][2]) const {
    dot_quants<5, T>(block, x.q + b * kBlockLen, n_cols, dot);
    if (with_minimum) return;
#pragma GCC unroll 4
    for (int t = 0; t < T; ++t) {
      const __m256i zero = _mm256_set1_epi32(16 * x.sum[t * (n_cols / kBlockLen) + b]);
      dot[t][0] = _mm256_sub_epi32(dot[t][0], zero);
      dot[t][1] = _mm256_sub_epi32(dot[t][1], zero);
    }
  }

  inline __m256 scale(int h) const { return load8_f16(block + 20 * kTileRows + 16 * h); }
  inline __m256 minimum(int h) const { return load8_f16(block + 22 * kTileRows + 16 * h); }
};

}  // namespace

void matmul_q5_0(const PackedMatrix& w, const QuantizedRows& x, const MatmulRange& range) noexcept {
  matmul_tiles<Q5<false>>(w, x, range);
}

void matmul_q5_1(const PackedMatrix& w, const QuantizedRows& x, const MatmulRange& range) noexcept {
  matmul_tiles<Q5<true>>(w, x, range);
}

}  // namespace kvtape::kernels::avx2
