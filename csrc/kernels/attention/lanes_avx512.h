#pragma once
// The vectors that attend_simd.h is written over: 16 lanes, and the 8 of lanes_avx2.h for what is too short for them.
// Without vector_avx512.h, whose first_lanes is another.

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "kernels/attention/lanes_avx2.h"
#include "kernels/exp_avx512.h"

namespace kvtape::kernels {
namespace {

struct Lanes16 {
  using Vec = __m512;
  using Scalar = const float*;  // a factor of a few products: broadcast inside of each
  static constexpr std::size_t kWidth = 16;

  static Vec zero() noexcept { return _mm512_setzero_ps(); }
  static Vec all(float x) noexcept { return _mm512_set1_ps(x); }
  static Scalar scalar(const float* p) noexcept { return p; }
  static Vec load(const float* p) noexcept { return _mm512_loadu_ps(p); }
  static Vec load(const std::uint16_t* p) noexcept {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static Vec load(const std::int8_t* p) noexcept {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
  }
  static void store(float* p, Vec x) noexcept { _mm512_storeu_ps(p, x); }
  static Vec add(Vec a, Vec b) noexcept { return _mm512_add_ps(a, b); }
  static Vec sub(Vec a, Vec b) noexcept { return _mm512_sub_ps(a, b); }
  static Vec mul(Vec a, Vec b) noexcept { return _mm512_mul_ps(a, b); }
  static Vec fma(Vec a, Vec b, Vec c) noexcept { return _mm512_fmadd_ps(a, b, c); }
  // In words, because GCC makes one broadcast of several and each takes a slot of the FMAs: on Zen 4, 24 FMAs beside 12
  // broadcasts and 2 conversions take 27 cycles, with the broadcasts in their operands 24.6.
  static Vec fma(Scalar a, Vec b, Vec c) noexcept {
    asm("vfmadd231ps %1%{1to16%}, %2, %0" : "+v"(c) : "m"(*a), "v"(b));
    return c;
  }
  static Vec max(Vec a, Vec b) noexcept { return _mm512_max_ps(a, b); }  // b where they are equal
  template <int n>
  static void exp(Vec (&x)[n]) noexcept {  // none above kExpMax
    exp16_to_max(x);
  }
  static float largest(Vec x) noexcept { return max8(_mm256_max_ps(low(x), high(x))); }
  static float reduce(const Vec (&sums)[1]) noexcept { return reduce16(low(sums[0]), high(sums[0])); }
  // a in the first n lanes, b in the others
  static Vec first(std::size_t n, Vec a, Vec b) noexcept {
    return _mm512_mask_blend_ps(static_cast<__mmask16>(n < 16 ? (1u << n) - 1 : 0xffffu), b, a);
  }

 private:  // masked: GCC 12 warns of the undefined lanes of the plain ones
  static __m256 low(Vec x) noexcept { return _mm512_maskz_extractf32x8_ps(0xff, x, 0); }
  static __m256 high(Vec x) noexcept { return _mm512_maskz_extractf32x8_ps(0xff, x, 1); }
};

}  // namespace
}  // namespace kvtape::kernels
