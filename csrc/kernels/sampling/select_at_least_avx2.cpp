#include "kernels/sampling/select_at_least.h"

#include <immintrin.h>

#include "kernels/vector_avx2.h"

namespace kvtape::kernels::avx2 {

// One compare per 8 values and one branch per 32, seldom taken: bound by reading x.
std::size_t select_at_least(const float* x, std::size_t n, float least, std::int32_t* ids) noexcept {
  const __m256 limit = _mm256_set1_ps(least);
  std::size_t n_selected = 0;
  for (std::size_t begin = 0; begin < n; begin += 32) {
    const std::size_t n_left = n - begin;
    unsigned chosen = 0;
    for (std::size_t lane = 0; lane < 32 && lane < n_left; lane += 8) {
      __m256 values;
      unsigned there = 0xff;
      if (lane + 8 <= n_left) {
        values = _mm256_loadu_ps(x + begin + lane);
      } else {
        values = _mm256_maskload_ps(x + begin + lane, first_lanes(n_left - lane));
        there >>= 8 - (n_left - lane);
      }
      const auto mask = static_cast<unsigned>(_mm256_movemask_ps(_mm256_cmp_ps(values, limit, _CMP_GE_OQ)));
      chosen |= (mask & there) << lane;
    }
    for (; chosen != 0; chosen &= chosen - 1) {
      ids[n_selected++] = static_cast<std::int32_t>(begin) + __builtin_ctz(chosen);
    }
  }
  return n_selected;
}

}  // namespace kvtape::kernels::avx2
