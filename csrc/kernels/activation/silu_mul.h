#pragma once
// y[i] = (gate[i] / (1 + exp(-gate[i]))) * up[i]          SwiGLU's elementwise part (Shazeer, 2020)
//   gate, up, y: [n]; y may be gate or up; exp is exp_f32 of numerics.h

#include <cstddef>

namespace kvtape::kernels {

using SiluMul = void(const float* gate, const float* up, float* y, std::size_t n) noexcept;
namespace ref { SiluMul silu_mul; }
namespace avx2 { SiluMul silu_mul; }
namespace avx512 { SiluMul silu_mul; }
namespace neon { SiluMul silu_mul; }

}  // namespace kvtape::kernels
