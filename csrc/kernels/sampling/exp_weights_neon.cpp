#include "kernels/sampling/exp_weights.h"

#include "kernels/vector_neon.h"

namespace kvtape::kernels::neon {
namespace {

inline float32x4_t masked(uint32x4_t mask, float32x4_t x) { return vbslq_f32(mask, x, vdupq_n_f32(0.0f)); }

}  // namespace

void exp_weights(const float* x, std::size_t n, float m, float s, float* w, float* sums) noexcept {
  for (std::size_t begin = 0; begin < n; begin += kSumRun) {
    const std::size_t end = n - begin < kSumRun ? n : begin + kSumRun;
    float32x4_t lanes[kVectors] = {vdupq_n_f32(0), vdupq_n_f32(0), vdupq_n_f32(0), vdupq_n_f32(0)};
    for (std::size_t i = begin; i < end; i += 4) {
      const float32x4_t x4 = load_first(x + i, end - i);
      const float32x4_t e = masked(vceqq_f32(x4, x4), exp4(vmulq_n_f32(vsubq_f32(x4, vdupq_n_f32(m)), s)));
      const std::size_t lane = i / 4 % kVectors;
      lanes[lane] = vaddq_f32(lanes[lane], masked(first_lanes(end - i), e));  // lanes past the end add +0
      store_first(w + i, e, end - i);
    }
    *sums++ = reduce16(lanes);
  }
}

}  // namespace kvtape::kernels::neon
