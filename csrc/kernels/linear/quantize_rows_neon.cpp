#include "kernels/linear/quantize_rows.h"

#include "kernels/vector_neon.h"

namespace kvtape::kernels::neon {
namespace {

constexpr size_t kBlockVectors = kBlockLen / 4;

// The largest |x| of a block, compared as integers: the order of non-negative floats, with infinity and NaN on top.
inline float largest_magnitude(const float32x4_t (&x)[kBlockVectors]) {
  uint32x4_t largest = vdupq_n_u32(0);
  for (float32x4_t four : x) largest = vmaxq_u32(largest, vreinterpretq_u32_f32(vabsq_f32(four)));
  const uint32_t bits = vmaxvq_u32(largest);
  float amax;
  memcpy(&amax, &bits, sizeof amax);
  return amax;
}

// Sixteen columns.
inline int8x16_t quantize16(const float32x4_t* x, float inverse) {
  int16x4_t four[4];
  for (int i = 0; i < 4; ++i) four[i] = vmovn_s32(vcvtnq_s32_f32(vmulq_n_f32(x[i], inverse)));  // to nearest even
  return vcombine_s8(vmovn_s16(vcombine_s16(four[0], four[1])), vmovn_s16(vcombine_s16(four[2], four[3])));
}

}  // namespace

void quantize_rows(const float* x, size_t x_stride, size_t n_rows, size_t dim, const QuantizedRows& out) noexcept {
  const size_t n_blocks = dim / kBlockLen;
  for (size_t r = 0; r < n_rows; ++r) {
    for (size_t b = 0; b < n_blocks; ++b) {
      const float* block = x + r * x_stride + b * kBlockLen;
      float32x4_t values[kBlockVectors];
      for (size_t i = 0; i < kBlockVectors; ++i) values[i] = vld1q_f32(block + 4 * i);
      const float amax = largest_magnitude(values);
      const bool finite = amax <= __FLT_MAX__;
      float d = finite ? 0.0f : __builtin_nanf("");
      int8x16_t q[2] = {vdupq_n_s8(0), vdupq_n_s8(0)};
      if (finite && amax >= kMinAmax) {
        d = amax / 127.0f;
        for (int h = 0; h < 2; ++h) q[h] = quantize16(values + 4 * h, 127.0f / amax);
      }
      const size_t at = r * n_blocks + b;
      int32_t sum = 0;
      for (size_t h = 0; h < 2; ++h) {
        vst1q_s8(out.q + r * dim + b * kBlockLen + 16 * h, q[h]);
        out.half[2 * at + h] = vaddlvq_s8(q[h]);
        sum += out.half[2 * at + h];
      }
      out.d[at] = d;
      out.sum[at] = sum;
      out.s[at] = d * static_cast<float>(sum);
    }
  }
}

}  // namespace kvtape::kernels::neon
