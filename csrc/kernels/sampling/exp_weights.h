#pragma once
// The unnormalised softmax of a row, and its sums over runs of kSumRun values:
//   w[i] = exp_f32((x[i] - m) * s), +0 where x[i] is NaN
//   sums[r] = Σ w[i], i in [r * kSumRun, (r + 1) * kSumRun) and below n: kReduceLanes lanes, lane i % 16 ascending from +0,
//   then reduce_lanes
//   x: [n], n > 0; w: [n], may be x; sums: [ceil(n / kSumRun)]; m, s finite, s > 0

#include <cstddef>

namespace kvtape::kernels {

static constexpr std::size_t kSumRun = 512;

using ExpWeights = void(const float* x, std::size_t n, float m, float s, float* w, float* sums) noexcept;

namespace ref { ExpWeights exp_weights; }
namespace avx2 { ExpWeights exp_weights; }
namespace neon { ExpWeights exp_weights; }

}  // namespace kvtape::kernels
