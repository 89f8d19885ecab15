#pragma once
// The numerics contract of docs/concepts/numerics.md: its constants, and the scalar functions every instruction set
// must reproduce bit for bit. All of it has internal linkage, so that a file built for one instruction set leaves no
// symbol that another could be linked to.

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

namespace kvtape::kernels {

static constexpr size_t kBlockLen = 32;       // elements of a quantised block, of weights and of activations
static constexpr size_t kTileRows = 16;       // output rows side by side in a packed weight tile
static constexpr size_t kChains = 4;          // float chains of a quantised row, joined ((c0 + c1) + c2) + c3
static constexpr size_t kReduceLanes = 16;    // lanes of sums over a whole row (norms, softmax over the vocabulary)
static constexpr size_t kPartitionLen = 128;  // positions of an attention partition, aligned to absolute position
static constexpr size_t kPartitionGroup = 8;  // partitions folded ascending before the groups are

// First block of chain c of a row of n_blocks blocks; chain c ends where chain c + 1 begins.
static inline size_t chain_begin(size_t c, size_t n_blocks) { return c * n_blocks / kChains; }

// Sum of 16 lanes by the fixed tree: lane i + lane i+8, then +4, +2, +1.
static inline float reduce_lanes(const float* lanes) {
  float sum[kReduceLanes];
  for (size_t i = 0; i < kReduceLanes; ++i) sum[i] = lanes[i];
  for (size_t width = kReduceLanes / 2; width > 0; width /= 2) {
    for (size_t i = 0; i < width; ++i) sum[i] = sum[i] + sum[i + width];
  }
  return sum[0];
}

// exp(x): x = n ln2 + r with |r| <= ln2 / 2, the series of exp(r) to r^7 by Horner with fma, times 2^n.
// +inf above kExpMax, +0 below kExpMin, NaN for NaN; at most 1 ulp from exact between.
static constexpr float kExpMax = 88.3762626647949f;
static constexpr float kExpMin = -87.3365447505531f;
static constexpr float kLog2E = 1.44269504088896341f;
static constexpr float kLn2Hi = 0.693145751953125f;      // 16 bits of ln 2: n * kLn2Hi is exact
static constexpr float kLn2Lo = 1.428606765330187e-06f;  // the rest
static constexpr float kExpSeries[8] = {1.0f, 1.0f, 0.5f, 1.0f / 6, 1.0f / 24, 1.0f / 120, 1.0f / 720, 1.0f / 5040};

static inline float exp_f32(float x) {
  if (x != x) return x;
  if (x > kExpMax) return __builtin_inff();
  if (x < kExpMin) return 0.0f;
  const float n = __builtin_rintf(x * kLog2E);  // round to nearest even, the default mode
  float r = __builtin_fmaf(n, -kLn2Hi, x);
  r = __builtin_fmaf(n, -kLn2Lo, r);
  float p = kExpSeries[7];
  for (int i = 6; i >= 0; --i) p = __builtin_fmaf(p, r, kExpSeries[i]);
  const uint32_t scale_bits = static_cast<uint32_t>(static_cast<int32_t>(n) + 127) << 23;
  float scale;
  memcpy(&scale, &scale_bits, sizeof scale);
  return p * scale;
}

// tanh(x), with a = |x| and the sign of x: below kTanhSmall a + a^3 p(a^2), p a minimax polynomial by Horner with fma; from
// there 1 - 2 / (exp(2a) + 1). At most 1.5 ulp from exact; NaN for NaN.
static constexpr float kTanhSmall = 0.625f;
static constexpr float kTanhSeries[5] = {-0.333332807f, 0.133314416f, -0.0537397116f, 0.0206390787f, -0.00570497848f};

static inline float tanh_f32(float x) {
  const float a = __builtin_fabsf(x), square = a * a;
  float p = kTanhSeries[4];
  for (int i = 3; i >= 0; --i) p = __builtin_fmaf(p, square, kTanhSeries[i]);
  const float y = a < kTanhSmall ? __builtin_fmaf(a * square, p, a) : 1.0f - 2.0f / (exp_f32(a + a) + 1.0f);
  return __builtin_copysignf(y, x);
}

}  // namespace kvtape::kernels
