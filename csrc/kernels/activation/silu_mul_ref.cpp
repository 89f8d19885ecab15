#include "kernels/activation/silu_mul.h"

#include "kernels/numerics.h"

namespace kvtape::kernels::ref {

void silu_mul(const float* gate, const float* up, float* y, std::size_t n) noexcept {
  for (std::size_t i = 0; i < n; ++i) y[i] = (gate[i] / (1.0f + exp_f32(-gate[i]))) * up[i];
}

}  // namespace kvtape::kernels::ref
