#include "ops/norm.h"

#include <algorithm>
#include <string>

#include "base/error.h"

namespace kvtape::ops {
namespace { constexpr std::size_t kRowsPerTask = 16; }  // namespace

void rms_norm(base::ThreadPool::Lease& lease, const kernels::KernelTable& kernel, std::span<const float> x,
              std::span<const float> weight, std::span<float> y, float eps) {
  const std::size_t dim = weight.size();
  if (dim == 0 || x.size() % dim != 0) {
    throw base::Error(
        base::ErrorCode::invalid_argument,
        "x: " + std::to_string(x.size()) + " elements, wanted rows of weight's length, " + std::to_string(dim));
  }
  if (y.size() != x.size()) {
    throw base::Error(base::ErrorCode::invalid_argument,
                      "y: " + std::to_string(y.size()) + " elements, wanted those of x, " + std::to_string(x.size()));
  }
  const std::size_t n_rows = x.size() / dim;
  lease.parallel_for((n_rows + kRowsPerTask - 1) / kRowsPerTask, [&](std::size_t task, std::size_t) {
    const std::size_t begin = task * kRowsPerTask;
    const std::size_t n = std::min(kRowsPerTask, n_rows - begin);
    kernel.rms_norm(x.data() + begin * dim, weight.data(), y.data() + begin * dim, n, dim, eps);
  });
}

}  // namespace kvtape::ops
