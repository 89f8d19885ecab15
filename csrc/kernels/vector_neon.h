#pragma once
// 4-lane helpers of the NEON kernels; included by `_neon` files only. Internal linkage, as in numerics.h.

#include <arm_neon.h>

#include "kernels/numerics.h"

namespace kvtape::kernels {

static constexpr size_t kVectors = 4;  // of 4 lanes: the 16 rows of a tile, the 16 lanes of a sum
static_assert(4 * kVectors == kTileRows && 4 * kVectors == kReduceLanes);

// All-ones in the first n lanes.
static inline uint32x4_t first_lanes(size_t n) {
  const uint32_t lane[4] = {0, 1, 2, 3};
  return vcgtq_u32(vdupq_n_u32(static_cast<uint32_t>(n)), vld1q_u32(lane));
}

// The first n floats of 4, and zeros.
static inline float32x4_t load_first(const float* p, size_t n) {
  if (n >= 4) return vld1q_f32(p);
  float lanes[4] = {};
  memcpy(lanes, p, n * sizeof(float));
  return vld1q_f32(lanes);
}

static inline void store_first(float* p, float32x4_t x, size_t n) {
  if (n >= 4) return vst1q_f32(p, x);
  float lanes[4];
  vst1q_f32(lanes, x);
  memcpy(p, lanes, n * sizeof(float));
}

static inline float32x4_t load4_f16(const void* p) {
  uint64_t halves;
  memcpy(&halves, p, sizeof halves);
  return vcvt_f32_f16(vreinterpret_f16_u64(vcreate_u64(halves)));
}

// Four exp_f32, bit for bit: limits and NaN are put back at the end, so lanes outside the range may compute anything.
static inline float32x4_t exp4(float32x4_t x) {
  const float32x4_t n = vrndnq_f32(vmulq_n_f32(x, kLog2E));
  float32x4_t r = vfmaq_f32(x, n, vdupq_n_f32(-kLn2Hi));
  r = vfmaq_f32(r, n, vdupq_n_f32(-kLn2Lo));
  float32x4_t p = vdupq_n_f32(kExpSeries[7]);
  for (int i = 6; i >= 0; --i) p = vfmaq_f32(vdupq_n_f32(kExpSeries[i]), p, r);
  const int32x4_t scale = vshlq_n_s32(vaddq_s32(vcvtq_s32_f32(n), vdupq_n_s32(127)), 23);
  float32x4_t y = vmulq_f32(p, vreinterpretq_f32_s32(scale));
  y = vbslq_f32(vcgtq_f32(x, vdupq_n_f32(kExpMax)), vdupq_n_f32(__builtin_inff()), y);
  y = vbslq_f32(vcltq_f32(x, vdupq_n_f32(kExpMin)), vdupq_n_f32(0.0f), y);
  return vbslq_f32(vceqq_f32(x, x), y, x);
}

// reduce_lanes of 16 lanes, four in each vector.
static inline float reduce16(const float32x4_t (&lanes)[kVectors]) {
  const float32x4_t four = vaddq_f32(vaddq_f32(lanes[0], lanes[2]), vaddq_f32(lanes[1], lanes[3]));
  const float32x2_t two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
  return vpadds_f32(two);
}

// Writes 16 output rows of a tile, or as many as n_rows says where the tile is the last.
static inline void store_rows(float* y, const float32x4_t (&rows)[kVectors], size_t n_rows) {
  for (size_t h = 0; h < kVectors && 4 * h < n_rows; ++h) store_first(y + 4 * h, rows[h], n_rows - 4 * h);
}

}  // namespace kvtape::kernels
