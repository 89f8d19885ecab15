#include "kernels/norm/rms_norm.h"

#include "kernels/vector_neon.h"

namespace kvtape::kernels::neon {

void rms_norm(const float* x, const float* weight, float* y, size_t n_rows, size_t dim, float eps) noexcept {
  for (size_t r = 0; r < n_rows; ++r, x += dim, y += dim) {
    float32x4_t sums[kVectors] = {vdupq_n_f32(0), vdupq_n_f32(0), vdupq_n_f32(0), vdupq_n_f32(0)};
    size_t c = 0;
    for (; c + kReduceLanes <= dim; c += kReduceLanes) {
      for (size_t i = 0; i < kVectors; ++i) {
        const float32x4_t a = vld1q_f32(x + c + 4 * i);
        sums[i] = vfmaq_f32(sums[i], a, a);
      }
    }
    for (size_t i = 0; c < dim; c += 4, ++i) {  // lanes past the end add 0 * 0, which leaves a sum of squares as it is
      const float32x4_t a = load_first(x + c, dim - c);
      sums[i] = vfmaq_f32(sums[i], a, a);
    }
    const float mean = reduce16(sums) / static_cast<float>(dim);
    const float scale = 1.0f / __builtin_sqrtf(mean + eps);
    for (c = 0; c < dim; c += 4) {
      const float32x4_t scaled = vmulq_n_f32(load_first(x + c, dim - c), scale);
      store_first(y + c, vmulq_f32(scaled, load_first(weight + c, dim - c)), dim - c);
    }
  }
}

}  // namespace kvtape::kernels::neon
