#include "kernels/sampling/exp_weights.h"

#include <immintrin.h>

#include "kernels/vector_avx2.h"

namespace kvtape::kernels::avx2 {
namespace {

__m256 weights(__m256 x, __m256 m, __m256 s) noexcept {
  const __m256 w = exp8(_mm256_mul_ps(_mm256_sub_ps(x, m), s));
  return _mm256_and_ps(w, _mm256_cmp_ps(x, x, _CMP_ORD_Q));
}

}  // namespace

// About 20 operations per 8 values; bound by arithmetic.
void exp_weights(const float* x, std::size_t n, float m, float s, float* w, float* sums) noexcept {
  const __m256 m8 = _mm256_set1_ps(m), s8 = _mm256_set1_ps(s);
  for (std::size_t begin = 0; begin < n; begin += kSumRun) {
    const std::size_t end = n - begin < kSumRun ? n : begin + kSumRun;
    __m256 low = _mm256_setzero_ps(), high = low;
    std::size_t i = begin;
    for (; i + 16 <= end; i += 16) {
      const __m256 w_low = weights(_mm256_loadu_ps(x + i), m8, s8),
                   w_high = weights(_mm256_loadu_ps(x + i + 8), m8, s8);
      low = _mm256_add_ps(low, w_low);
      high = _mm256_add_ps(high, w_high);
      _mm256_storeu_ps(w + i, w_low);
      _mm256_storeu_ps(w + i + 8, w_high);
    }
    for (bool upper = false; i < end; i += 8, upper = true) {  // lanes past the end add +0
      const __m256i there = first_lanes(end - i < 8 ? end - i : 8);
      const __m256 last = _mm256_and_ps(weights(_mm256_maskload_ps(x + i, there), m8, s8), _mm256_castsi256_ps(there));
      if (upper)
        high = _mm256_add_ps(high, last);
      else
        low = _mm256_add_ps(low, last);
      _mm256_maskstore_ps(w + i, there, last);
    }
    *sums++ = reduce16(low, high);
  }
}

}  // namespace kvtape::kernels::avx2
