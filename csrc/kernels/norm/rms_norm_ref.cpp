#include "kernels/norm/rms_norm.h"

#include "kernels/numerics.h"

namespace kvtape::kernels::ref {

void rms_norm(const float* x, const float* weight, float* y, std::size_t n_rows, std::size_t dim, float eps) noexcept {
  for (std::size_t r = 0; r < n_rows; ++r, x += dim, y += dim) {
    float lanes[kReduceLanes] = {};
    for (std::size_t c = 0; c < dim; ++c) lanes[c % kReduceLanes] = __builtin_fmaf(x[c], x[c], lanes[c % kReduceLanes]);
    const float mean = reduce_lanes(lanes) / static_cast<float>(dim);
    const float scale = 1.0f / __builtin_sqrtf(mean + eps);
    for (std::size_t c = 0; c < dim; ++c) y[c] = (x[c] * scale) * weight[c];
  }
}

}  // namespace kvtape::kernels::ref
