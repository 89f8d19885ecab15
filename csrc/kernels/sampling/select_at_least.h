#pragma once
// Indices i of a row with x[i] >= least, ascending; NaN is never among them. Returns how many there are.
//   x: [n], n < 2^31; ids: [n]

#include <cstddef>
#include <cstdint>

namespace kvtape::kernels {

using SelectAtLeast = std::size_t(const float* x, std::size_t n, float least, std::int32_t* ids) noexcept;

namespace ref { SelectAtLeast select_at_least; }
namespace avx2 { SelectAtLeast select_at_least; }
namespace neon { SelectAtLeast select_at_least; }

}  // namespace kvtape::kernels
