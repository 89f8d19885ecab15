#include "kernels/sampling/select_at_least.h"

namespace kvtape::kernels::ref {

std::size_t select_at_least(const float* x, std::size_t n, float least, std::int32_t* ids) noexcept {
  std::size_t n_selected = 0;
  for (std::size_t i = 0; i < n; ++i) {
    if (x[i] >= least) ids[n_selected++] = static_cast<std::int32_t>(i);
  }
  return n_selected;
}

}  // namespace kvtape::kernels::ref
