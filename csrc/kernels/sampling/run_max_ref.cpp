#include "kernels/sampling/run_max.h"

namespace kvtape::kernels::ref {

void run_max(const float* x, std::size_t n, float* y) noexcept {
  for (std::size_t begin = 0; begin < n; begin += kMaxRun) {
    float most = -__builtin_inff();
    for (std::size_t i = begin; i < n && i < begin + kMaxRun; ++i) most = x[i] > most ? x[i] : most;
    *y++ = most + 0.0f;
  }
}

}  // namespace kvtape::kernels::ref
