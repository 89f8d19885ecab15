#include "ops/activation.h"

#include <algorithm>
#include <string>

#include "base/error.h"

namespace kvtape::ops {
namespace {

constexpr std::size_t kElementsPerTask = 8192;  // a multiple of every vector width; some 3 us

// run(begin, n) over [0, n_all), some elements a task.
template <class Run>
void in_parts(base::ThreadPool::Lease& lease, std::size_t n_all, const Run& run) {
  lease.parallel_for((n_all + kElementsPerTask - 1) / kElementsPerTask, [&](std::size_t task, std::size_t) {
    const std::size_t begin = task * kElementsPerTask;
    run(begin, std::min(kElementsPerTask, n_all - begin));
  });
}

// SiluMul and GeluMul are one type.
void gated(base::ThreadPool::Lease& lease, kernels::SiluMul* kernel, std::span<const float> gate,
           std::span<const float> up, std::span<float> y) {
  if (up.size() != gate.size() || y.size() != gate.size()) {
    throw base::Error(
        base::ErrorCode::invalid_argument,
        (up.size() != gate.size() ? "up: " + std::to_string(up.size()) : "y: " + std::to_string(y.size())) +
            " elements, wanted those of gate, " + std::to_string(gate.size()));
  }
  in_parts(lease, gate.size(), [&](std::size_t begin, std::size_t n) {
    kernel(gate.data() + begin, up.data() + begin, y.data() + begin, n);
  });
}

}  // namespace

void silu_mul(base::ThreadPool::Lease& lease, const kernels::KernelTable& kernel, std::span<const float> gate,
              std::span<const float> up, std::span<float> y) {
  gated(lease, kernel.silu_mul, gate, up, y);
}

void gelu_mul(base::ThreadPool::Lease& lease, const kernels::KernelTable& kernel, std::span<const float> gate,
              std::span<const float> up, std::span<float> y) {
  gated(lease, kernel.gelu_mul, gate, up, y);
}

void softcap(base::ThreadPool::Lease& lease, const kernels::KernelTable& kernel, std::span<float> x, float cap) {
  if (!(cap > 0)) {
    throw base::Error(base::ErrorCode::invalid_argument, "cap: " + std::to_string(cap) + ", wanted more than 0");
  }
  in_parts(lease, x.size(), [&](std::size_t begin, std::size_t n) { kernel.softcap(x.data() + begin, n, cap); });
}

}  // namespace kvtape::ops
