#include "kernels/sampling/run_max.h"

#include "kernels/vector_neon.h"

namespace kvtape::kernels::neon {

void run_max(const float* x, std::size_t n, float* y) noexcept {
  for (std::size_t begin = 0; begin < n; begin += kMaxRun) {
    const std::size_t end = n - begin < kMaxRun ? n : begin + kMaxRun;
    float32x4_t most = vdupq_n_f32(-__builtin_inff());
    for (std::size_t i = begin; i < end; i += 4) {
      const float32x4_t values = load_first(x + i, end - i);
      most = vbslq_f32(vandq_u32(vcgtq_f32(values, most), first_lanes(end - i)), values, most);  // never a NaN
    }
    *y++ = vmaxvq_f32(most) + 0.0f;
  }
}

}  // namespace kvtape::kernels::neon
