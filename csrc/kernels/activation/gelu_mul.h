#pragma once
// y[i] = (gate[i] / (1 + exp(-t))) * up[i], t = gate[i] * fma(kGeluCubic, gate[i] * gate[i], kGeluLinear)
// GEGLU's elementwise part with GELU in its tanh form: 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))), since
// 0.5 (1 + tanh(t / 2)) = 1 / (1 + exp(-t)), which also keeps the digits that 1 + tanh loses where x is below zero.
//   gate, up, y: [n]; y may be gate or up; exp is exp_f32 of numerics.h

#include <cstddef>

namespace kvtape::kernels {

static constexpr float kGeluLinear = 1.5957691216057308f;   // 2 sqrt(2/pi)
static constexpr float kGeluCubic = 0.071354816272600268f;  // 0.044715 of that

using GeluMul = void(const float* gate, const float* up, float* y, std::size_t n) noexcept;
namespace ref { GeluMul gelu_mul; }
namespace avx2 { GeluMul gelu_mul; }
namespace avx512 { GeluMul gelu_mul; }
namespace neon { GeluMul gelu_mul; }

}  // namespace kvtape::kernels
