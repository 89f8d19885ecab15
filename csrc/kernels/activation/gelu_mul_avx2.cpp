#include "kernels/activation/gelu_mul.h"

#include <immintrin.h>

#include "kernels/numerics.h"
#include "kernels/vector_avx2.h"

namespace kvtape::kernels::avx2 {
namespace {

inline __m256 gelu_mul8(__m256 gate, __m256 up) {
  const __m256 inner =
      _mm256_fmadd_ps(_mm256_set1_ps(kGeluCubic), _mm256_mul_ps(gate, gate), _mm256_set1_ps(kGeluLinear));
  const __m256 e = exp8(_mm256_xor_ps(_mm256_mul_ps(gate, inner), _mm256_set1_ps(-0.0f)));
  return _mm256_mul_ps(_mm256_div_ps(gate, _mm256_add_ps(_mm256_set1_ps(1.0f), e)), up);
}

}  // namespace

// silu_mul and three operations more: bound by the arithmetic of exp8.
void gelu_mul(const float* gate, const float* up, float* y, size_t n) noexcept {
  size_t i = 0;
  for (; i + 8 <= n; i += 8) _mm256_storeu_ps(y + i, gelu_mul8(_mm256_loadu_ps(gate + i), _mm256_loadu_ps(up + i)));
  if (i < n) {
    const __m256i mask = first_lanes(n - i);
    const __m256 rest = gelu_mul8(_mm256_maskload_ps(gate + i, mask), _mm256_maskload_ps(up + i, mask));
    _mm256_maskstore_ps(y + i, mask, rest);
  }
}

}  // namespace kvtape::kernels::avx2
