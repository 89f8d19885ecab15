#include "kernels/activation/softcap.h"

#include "kernels/numerics.h"

namespace kvtape::kernels::ref {

void softcap(float* x, std::size_t n, float cap) noexcept {
  for (std::size_t i = 0; i < n; ++i) x[i] = tanh_f32(x[i] / cap) * cap;
}

}  // namespace kvtape::kernels::ref
