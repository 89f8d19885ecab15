#pragma once
// SwiGLU's elementwise part (kernels/activation/silu_mul.h).

#include <span>

#include "base/thread_pool.h"
#include "kernels/table.h"

namespace kvtape::ops {

// y = silu(gate) * up; y may be gate or up. Throws invalid_argument where the sizes differ.
void silu_mul(base::ThreadPool::Lease& lease, const kernels::KernelTable& kernel, std::span<const float> gate,
              std::span<const float> up, std::span<float> y);

}  // namespace kvtape::ops
