#include "kernels/attention/fold_states.h"

#include <immintrin.h>

#include "kernels/numerics.h"

namespace kvtape::kernels::avx2 {

// Bound by memory: 8 bytes read and 4 written per element, once in kPartitionGroup partitions.
void fold_states(const AttentionState& into, const AttentionState& from, std::size_t n_rows,
                 std::size_t head_dim) noexcept {
  for (std::size_t r = 0; r < n_rows; ++r) {
    if (from.l[r] == 0.0f) continue;
    float* o = into.o + r * head_dim;
    const float* o_from = from.o + r * head_dim;
    if (into.l[r] == 0.0f) {
      into.m[r] = from.m[r];
      into.l[r] = from.l[r];
      for (std::size_t d = 0; d < head_dim; d += 8) _mm256_storeu_ps(o + d, _mm256_loadu_ps(o_from + d));
      continue;
    }
    const float m = from.m[r] > into.m[r] ? from.m[r] : into.m[r];
    const float x = exp_f32(into.m[r] - m);
    const float y = exp_f32(from.m[r] - m);
    into.m[r] = m;
    into.l[r] = __builtin_fmaf(from.l[r], y, into.l[r] * x);
    for (std::size_t d = 0; d < head_dim; d += 8) {
      const __m256 scaled = _mm256_mul_ps(_mm256_loadu_ps(o + d), _mm256_set1_ps(x));
      _mm256_storeu_ps(o + d, _mm256_fmadd_ps(_mm256_loadu_ps(o_from + d), _mm256_set1_ps(y), scaled));
    }
  }
}

}  // namespace kvtape::kernels::avx2
