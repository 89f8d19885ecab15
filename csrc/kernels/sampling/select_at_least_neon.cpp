#include "kernels/sampling/select_at_least.h"

#include "kernels/vector_neon.h"

namespace kvtape::kernels::neon {

// One compare per 4 values, and one branch per 16, seldom taken.
std::size_t select_at_least(const float* x, std::size_t n, float least, std::int32_t* ids) noexcept {
  const float32x4_t limit = vdupq_n_f32(least);
  std::size_t n_selected = 0;
  for (std::size_t begin = 0; begin < n; begin += 16) {
    const std::size_t end = n - begin < 16 ? n : begin + 16;
    if (end - begin == 16) {
      const float* run = x + begin;
      const uint32x4_t low = vorrq_u32(vcgeq_f32(vld1q_f32(run), limit), vcgeq_f32(vld1q_f32(run + 4), limit));
      const uint32x4_t high = vorrq_u32(vcgeq_f32(vld1q_f32(run + 8), limit), vcgeq_f32(vld1q_f32(run + 12), limit));
      if (vmaxvq_u32(vorrq_u32(low, high)) == 0) continue;
    }
    for (std::size_t i = begin; i < end; ++i) {
      if (x[i] >= least) ids[n_selected++] = static_cast<std::int32_t>(i);
    }
  }
  return n_selected;
}

}  // namespace kvtape::kernels::neon
