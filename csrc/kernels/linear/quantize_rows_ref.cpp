#include "kernels/linear/quantize_rows.h"

#include <cstring>

#include "kernels/numerics.h"

namespace kvtape::kernels::ref {
namespace {

// The largest |x| of a block; among infinities and NaNs the largest bit pattern, so that they win over numbers.
float largest_magnitude(const float* x) noexcept {
  std::uint32_t largest = 0;
  for (std::size_t i = 0; i < kBlockLen; ++i) {
    std::uint32_t bits;
    std::memcpy(&bits, x + i, sizeof bits);
    bits &= 0x7fffffffu;
    if (bits > largest) largest = bits;
  }
  float amax;
  std::memcpy(&amax, &largest, sizeof amax);
  return amax;
}

}  // namespace

void quantize_rows(const float* x, std::size_t x_stride, std::size_t n_rows, std::size_t dim,
                   const QuantizedRows& out) noexcept {
  const std::size_t n_blocks = dim / kBlockLen;
  for (std::size_t r = 0; r < n_rows; ++r) {
    for (std::size_t b = 0; b < n_blocks; ++b) {
      const float* block = x + r * x_stride + b * kBlockLen;
      std::int8_t* q = out.q + r * dim + b * kBlockLen;
      const float amax = largest_magnitude(block);
      const bool finite = amax <= __FLT_MAX__;
      float d = 0.0f;
      std::int16_t half[2] = {0, 0};
      if (finite && amax >= kMinAmax) {
        d = amax / 127.0f;
        const float inverse = 127.0f / amax;
        for (std::size_t i = 0; i < kBlockLen; ++i) {
          q[i] = static_cast<std::int8_t>(__builtin_rintf(block[i] * inverse));
          half[i / 16] = static_cast<std::int16_t>(half[i / 16] + q[i]);
        }
      } else {
        d = finite ? 0.0f : __builtin_nanf("");
        std::memset(q, 0, kBlockLen);
      }
      const std::size_t at = r * n_blocks + b;
      out.d[at] = d;
      const std::int32_t sum = half[0] + half[1];
      std::memcpy(out.half + 2 * at, half, sizeof half);
      out.sum[at] = sum;
      out.s[at] = d * static_cast<float>(sum);
    }
  }
}

}  // namespace kvtape::kernels::ref
