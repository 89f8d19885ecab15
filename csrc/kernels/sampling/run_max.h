#pragma once
// The largest value of each run of kMaxRun of a row: what the search for the best tokens starts from.
//   y[r] = max of x[i], i in [r * kMaxRun, (r + 1) * kMaxRun) and below n; NaN counts as -inf, and a zero is +0
//   x: [n], n > 0; y: [ceil(n / kMaxRun)]

#include <cstddef>

namespace kvtape::kernels {

static constexpr std::size_t kMaxRun = 64;

using RunMax = void(const float* x, std::size_t n, float* y) noexcept;

namespace ref { RunMax run_max; }
namespace avx2 { RunMax run_max; }
namespace neon { RunMax run_max; }

}  // namespace kvtape::kernels
