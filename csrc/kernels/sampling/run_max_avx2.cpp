#include "kernels/sampling/run_max.h"

#include <immintrin.h>

#include "kernels/vector_avx2.h"

namespace kvtape::kernels::avx2 {

// One load and one maximum per 8 values; bound by reading x, from L2 in a decode step.
void run_max(const float* x, std::size_t n, float* y) noexcept {
  const __m256 lowest = _mm256_set1_ps(-__builtin_inff());
  for (std::size_t begin = 0; begin < n; begin += kMaxRun) {
    const std::size_t end = n - begin < kMaxRun ? n : begin + kMaxRun;
    __m256 most[2] = {lowest, lowest};  // max_ps takes its second operand where one is NaN
    std::size_t i = begin;
    for (; i + 16 <= end; i += 16) {
      most[0] = _mm256_max_ps(_mm256_loadu_ps(x + i), most[0]);
      most[1] = _mm256_max_ps(_mm256_loadu_ps(x + i + 8), most[1]);
    }
    for (; i < end; i += 8) {
      const __m256i there = first_lanes(end - i < 8 ? end - i : 8);
      const __m256 values = _mm256_blendv_ps(lowest, _mm256_maskload_ps(x + i, there), _mm256_castsi256_ps(there));
      most[0] = _mm256_max_ps(values, most[0]);
    }
    *y++ = max8(_mm256_max_ps(most[0], most[1])) + 0.0f;
  }
}

}  // namespace kvtape::kernels::avx2
