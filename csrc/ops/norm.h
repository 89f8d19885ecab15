#pragma once
// RMS normalisation of rows (kernels/norm/rms_norm.h).

#include <span>

#include "base/thread_pool.h"
#include "kernels/table.h"

namespace kvtape::ops {

// x, y: [n_rows, dim] with dim = weight.size(); y may be x. Throws invalid_argument where the sizes do not fit.
void rms_norm(base::ThreadPool::Lease& lease, const kernels::KernelTable& kernel, std::span<const float> x,
              std::span<const float> weight, std::span<float> y, float eps);

}  // namespace kvtape::ops
