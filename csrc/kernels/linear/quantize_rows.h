#pragma once
// Activations to int8, by blocks of 32 columns of a row:
//   d = max|x| / 127      q[i] = rint(x[i] * (127 / max|x|)), to nearest even      max|x| = 0 gives d = 0, q = 0
//   sum = Σ q (exact)     s = d * float(sum)
//   x: [n_rows, dim] with rows x_stride floats apart, dim a multiple of 32, finite
//   q: [n_rows, dim]; d, s, sum: [n_rows, dim / 32]

#include <cstddef>
#include <cstdint>

namespace kvtape::kernels {

struct QuantizedRows {
  std::int8_t* q;
  float* d;
  float* s;
  std::int32_t* sum;
};

using QuantizeRows = void(const float* x, std::size_t x_stride, std::size_t n_rows, std::size_t dim,
                          const QuantizedRows& out) noexcept;
namespace ref { QuantizeRows quantize_rows; }
namespace avx2 { QuantizeRows quantize_rows; }

}  // namespace kvtape::kernels
