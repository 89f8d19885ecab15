#pragma once
// Activations to int8, by blocks of 32 columns of a row:
//   d = max|x| / 127      q[i] = rint(x[i] * (127 / max|x|)), to nearest even: -127 .. 127, never -128
//   sum = Σ q (exact)     s = d * float(sum)
//   half = Σ q of each 16 columns, at most 16 * 127: for formats with a scale for each 16
// A block with max|x| < kMinAmax counts as zeros (all five are 0): below it d is subnormal or 127 / max|x| infinite.
// A block with an infinity or a NaN has d = s = NaN and q, sum, half = 0, so that the outputs that read it are NaN.
//   x: [n_rows, dim] with rows x_stride floats apart, dim a multiple of 32
//   q: [n_rows, dim]; d, s, sum: [n_rows, dim / 32]; half: [n_rows, dim / 16]

#include <cstddef>
#include <cstdint>

namespace kvtape::kernels {

static constexpr float kMinAmax = 0x1p-118f;

struct QuantizedRows {
  std::int8_t* q;
  float* d;
  float* s;
  std::int32_t* sum;
  std::int16_t* half;
};

// The rows from `row` on.
static inline QuantizedRows rows_from(const QuantizedRows& x, std::size_t row, std::size_t dim) {
  const std::size_t at = row * (dim / 32);
  return {x.q + row * dim, x.d + at, x.s + at, x.sum + at, x.half + 2 * at};
}

using QuantizeRows = void(const float* x, std::size_t x_stride, std::size_t n_rows, std::size_t dim,
                          const QuantizedRows& out) noexcept;
namespace ref { QuantizeRows quantize_rows; }
namespace avx2 { QuantizeRows quantize_rows; }
namespace avx512 { QuantizeRows quantize_rows; }
namespace neon { QuantizeRows quantize_rows; }

}  // namespace kvtape::kernels
