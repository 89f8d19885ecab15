#pragma once
// The vectors that attend_simd.h is written over: 4 lanes. Included by `_neon` files only.

#include <cstddef>
#include <cstdint>

#include "kernels/vector_neon.h"

namespace kvtape::kernels {
namespace {

struct Lanes4 {
  using Vec = float32x4_t;
  using Scalar = Vec;  // a factor of a few products: broadcast once
  static constexpr std::size_t kWidth = 4;

  static Vec zero() noexcept { return vdupq_n_f32(0.0f); }
  static Vec all(float x) noexcept { return vdupq_n_f32(x); }
  static Scalar scalar(const float* p) noexcept { return vld1q_dup_f32(p); }
  static Vec load(const float* p) noexcept { return vld1q_f32(p); }
  static Vec load(const std::uint16_t* p) noexcept { return load4_f16(p); }
  static Vec load(const std::int8_t* p) noexcept {
    std::uint32_t four;
    memcpy(&four, p, sizeof four);
    return vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(vcreate_s8(four)))));
  }
  static void store(float* p, Vec x) noexcept { vst1q_f32(p, x); }
  static Vec add(Vec a, Vec b) noexcept { return vaddq_f32(a, b); }
  static Vec sub(Vec a, Vec b) noexcept { return vsubq_f32(a, b); }
  static Vec mul(Vec a, Vec b) noexcept { return vmulq_f32(a, b); }
  static Vec fma(Vec a, Vec b, Vec c) noexcept { return vfmaq_f32(c, a, b); }
  static Vec max(Vec a, Vec b) noexcept { return vmaxnmq_f32(a, b); }  // of a NaN and a number, the number
  template <int n>
  static void exp(Vec (&x)[n]) noexcept {
    for (Vec& each : x) each = exp4(each);
  }
  static float largest(Vec x) noexcept { return vmaxnmvq_f32(x); }
  static float reduce(const Vec (&sums)[kVectors]) noexcept { return reduce16(sums); }
  // a in the first n lanes, b in the others
  static Vec first(std::size_t n, Vec a, Vec b) noexcept { return vbslq_f32(first_lanes(n), a, b); }
};

}  // namespace
}  // namespace kvtape::kernels
