#include "kernels/activation/gelu_mul.h"

#include "kernels/numerics.h"

namespace kvtape::kernels::ref {

void gelu_mul(const float* gate, const float* up, float* y, std::size_t n) noexcept {
  for (std::size_t i = 0; i < n; ++i) {
    const float t = gate[i] * __builtin_fmaf(kGeluCubic, gate[i] * gate[i], kGeluLinear);
    y[i] = (gate[i] / (1.0f + exp_f32(-t))) * up[i];
  }
}

}  // namespace kvtape::kernels::ref
