#include "kernels/activation/silu_mul.h"

#include "kernels/vector_neon.h"

namespace kvtape::kernels::neon {

void silu_mul(const float* gate, const float* up, float* y, size_t n) noexcept {
  for (size_t i = 0; i < n; i += 4) {
    const float32x4_t g = load_first(gate + i, n - i);
    const float32x4_t silu = vdivq_f32(g, vaddq_f32(vdupq_n_f32(1.0f), exp4(vnegq_f32(g))));
    store_first(y + i, vmulq_f32(silu, load_first(up + i, n - i)), n - i);
  }
}

}  // namespace kvtape::kernels::neon
