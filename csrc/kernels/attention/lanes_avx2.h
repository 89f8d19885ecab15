#pragma once
// The vectors that attend_simd.h is written over: 8 lanes. Included by files built for AVX2 or more.

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "kernels/vector_avx2.h"

namespace kvtape::kernels {
namespace {

struct Lanes8 {
  using Vec = __m256;
  using Scalar = __m256;  // a factor of a few products: broadcast once
  static constexpr std::size_t kWidth = 8;

  static Vec zero() noexcept { return _mm256_setzero_ps(); }
  static Vec all(float x) noexcept { return _mm256_set1_ps(x); }
  static Scalar scalar(const float* p) noexcept { return _mm256_set1_ps(*p); }
  static Vec load(const float* p) noexcept { return _mm256_loadu_ps(p); }
  static Vec load(const std::uint16_t* p) noexcept { return load8_f16(p); }
  static Vec load(const std::int8_t* p) noexcept {
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
  }
  static void store(float* p, Vec x) noexcept { _mm256_storeu_ps(p, x); }
  static Vec add(Vec a, Vec b) noexcept { return _mm256_add_ps(a, b); }
  static Vec sub(Vec a, Vec b) noexcept { return _mm256_sub_ps(a, b); }
  static Vec mul(Vec a, Vec b) noexcept { return _mm256_mul_ps(a, b); }
  static Vec fma(Vec a, Vec b, Vec c) noexcept { return _mm256_fmadd_ps(a, b, c); }
  static Vec max(Vec a, Vec b) noexcept { return _mm256_max_ps(a, b); }  // b where they are equal
  template <int n>
  static void exp(Vec (&x)[n]) noexcept {
    for (Vec& each : x) each = exp8(each);
  }
  static float largest(Vec x) noexcept { return max8(x); }
  static float reduce(const Vec (&sums)[2]) noexcept { return reduce16(sums[0], sums[1]); }
  // a in the first n lanes, b in the others
  static Vec first(std::size_t n, Vec a, Vec b) noexcept {
    return _mm256_blendv_ps(b, a, _mm256_castsi256_ps(first_lanes(n < 8 ? n : 8)));
  }
};

}  // namespace
}  // namespace kvtape::kernels
