#include "ops/activation.h"

#include <algorithm>
#include <string>

#include "base/error.h"

namespace kvtape::ops {
namespace {

constexpr std::size_t kElementsPerTask = 8192;  // a multiple of every vector width; some 3 us

}  // namespace

void silu_mul(base::ThreadPool::Lease& lease, const kernels::KernelTable& kernel, std::span<const float> gate,
              std::span<const float> up, std::span<float> y) {
  if (up.size() != gate.size() || y.size() != gate.size()) {
    throw base::Error(
        base::ErrorCode::invalid_argument,
        (up.size() != gate.size() ? "up: " + std::to_string(up.size()) : "y: " + std::to_string(y.size())) +
            " elements, wanted those of gate, " + std::to_string(gate.size()));
  }
  lease.parallel_for((gate.size() + kElementsPerTask - 1) / kElementsPerTask, [&](std::size_t task, std::size_t) {
    const std::size_t begin = task * kElementsPerTask;
    const std::size_t n = std::min(kElementsPerTask, gate.size() - begin);
    kernel.silu_mul(gate.data() + begin, up.data() + begin, y.data() + begin, n);
  });
}

}  // namespace kvtape::ops
