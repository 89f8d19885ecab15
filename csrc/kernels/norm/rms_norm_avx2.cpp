#include "kernels/norm/rms_norm.h"

#include <immintrin.h>

#include "kernels/numerics.h"
#include "kernels/vector_avx2.h"

namespace kvtape::kernels::avx2 {

// Two passes over a row that is in L1 after the first: per 16 elements 2 loads and 2 FMAs, then 4 loads, 4 products and
// 2 stores. The first pass is bound by the latency of its two FMA chains (4 cycles for 16 elements), the rest by loads.
void rms_norm(const float* x, const float* weight, float* y, size_t n_rows, size_t dim, float eps) noexcept {
  const size_t whole = dim / kReduceLanes * kReduceLanes;
  const size_t rest = dim - whole;
  const __m256i rest_low = first_lanes(rest < 8 ? rest : 8);
  const __m256i rest_high = first_lanes(rest < 8 ? 0 : rest - 8);
  for (size_t r = 0; r < n_rows; ++r, x += dim, y += dim) {
    __m256 low = _mm256_setzero_ps(), high = _mm256_setzero_ps();
    for (size_t c = 0; c < whole; c += kReduceLanes) {
      const __m256 a = _mm256_loadu_ps(x + c), b = _mm256_loadu_ps(x + c + 8);
      low = _mm256_fmadd_ps(a, a, low);
      high = _mm256_fmadd_ps(b, b, high);
    }
    if (rest != 0) {  // lanes past the end add 0 * 0, which leaves a sum of squares as it is
      const __m256 a = _mm256_maskload_ps(x + whole, rest_low), b = _mm256_maskload_ps(x + whole + 8, rest_high);
      low = _mm256_fmadd_ps(a, a, low);
      high = _mm256_fmadd_ps(b, b, high);
    }
    const float mean = reduce16(low, high) / static_cast<float>(dim);
    const float scale = 1.0f / __builtin_sqrtf(mean + eps);
    const __m256 scale8 = _mm256_set1_ps(scale);
    size_t c = 0;
    for (; c + 8 <= dim; c += 8) {
      const __m256 scaled = _mm256_mul_ps(_mm256_loadu_ps(x + c), scale8);
      _mm256_storeu_ps(y + c, _mm256_mul_ps(scaled, _mm256_loadu_ps(weight + c)));
    }
    for (; c < dim; ++c) y[c] = (x[c] * scale) * weight[c];
  }
}

}  // namespace kvtape::kernels::avx2
