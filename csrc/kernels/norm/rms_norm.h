#pragma once
// y[r, c] = (x[r, c] * scale) * weight[c],  scale = 1 / sqrt(sum(x[r, :]^2) / dim + eps)
//   x, y: [n_rows, dim] row-major, y may be x; weight: [dim]; dim > 0; any alignment
// The sum: lane j of 16 takes x[j], x[j+16], ... ascending, each by fma(x, x, lane) from +0; then reduce_lanes.
// Division and square root are the correctly rounded ones; sum / dim divides by float(dim).

#include <cstddef>

namespace kvtape::kernels {

using RmsNorm = void(const float* x, const float* weight, float* y, std::size_t n_rows, std::size_t dim,
                     float eps) noexcept;
namespace ref { RmsNorm rms_norm; }
namespace avx2 { RmsNorm rms_norm; }
namespace neon { RmsNorm rms_norm; }

}  // namespace kvtape::kernels
