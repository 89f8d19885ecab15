#include "kernels/activation/gelu_mul.h"

#include "kernels/vector_neon.h"

namespace kvtape::kernels::neon {

void gelu_mul(const float* gate, const float* up, float* y, size_t n) noexcept {
  for (size_t i = 0; i < n; i += 4) {
    const float32x4_t g = load_first(gate + i, n - i);
    const float32x4_t inner = vfmaq_f32(vdupq_n_f32(kGeluLinear), vdupq_n_f32(kGeluCubic), vmulq_f32(g, g));
    const float32x4_t e = exp4(vnegq_f32(vmulq_f32(g, inner)));
    const float32x4_t gelu = vdivq_f32(g, vaddq_f32(vdupq_n_f32(1.0f), e));
    store_first(y + i, vmulq_f32(gelu, load_first(up + i, n - i)), n - i);
  }
}

}  // namespace kvtape::kernels::neon
