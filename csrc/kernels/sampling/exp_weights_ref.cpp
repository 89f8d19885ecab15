#include "kernels/sampling/exp_weights.h"

#include "kernels/numerics.h"

namespace kvtape::kernels::ref {

void exp_weights(const float* x, std::size_t n, float m, float s, float* w, float* sums) noexcept {
  for (std::size_t begin = 0; begin < n; begin += kSumRun) {
    float lanes[kReduceLanes] = {};
    for (std::size_t i = begin; i < n && i < begin + kSumRun; ++i) {
      w[i] = x[i] != x[i] ? 0.0f : exp_f32((x[i] - m) * s);
      lanes[i % kReduceLanes] = lanes[i % kReduceLanes] + w[i];
    }
    *sums++ = reduce_lanes(lanes);
  }
}

}  // namespace kvtape::kernels::ref
