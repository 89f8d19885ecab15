#pragma once
// Elementwise functions (kernels/activation).

#include <span>

#include "base/thread_pool.h"
#include "kernels/table.h"

namespace kvtape::ops {

// y = silu(gate) * up, or gelu(gate) * up; y may be gate or up. Throw invalid_argument where the sizes differ.
void silu_mul(base::ThreadPool::Lease& lease, const kernels::KernelTable& kernel, std::span<const float> gate,
              std::span<const float> up, std::span<float> y);
void gelu_mul(base::ThreadPool::Lease& lease, const kernels::KernelTable& kernel, std::span<const float> gate,
              std::span<const float> up, std::span<float> y);

// x = tanh(x / cap) * cap. Throws invalid_argument where cap is not positive.
void softcap(base::ThreadPool::Lease& lease, const kernels::KernelTable& kernel, std::span<float> x, float cap);

}  // namespace kvtape::ops
