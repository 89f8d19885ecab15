#pragma once
// x[i] = tanh(x[i] / cap) * cap, in place: logits that stay within cap (Gemma)
//   x: [n]; cap > 0; tanh is tanh_f32 of numerics.h

#include <cstddef>

namespace kvtape::kernels {

using Softcap = void(float* x, std::size_t n, float cap) noexcept;
namespace ref { Softcap softcap; }
namespace avx2 { Softcap softcap; }
namespace neon { Softcap softcap; }

}  // namespace kvtape::kernels
