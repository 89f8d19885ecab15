#pragma once
// The vectors that attend_simd.h is written over: 16 lanes, and the 8 of lanes_avx2.h for what is too short for them.
// Without vector_avx512.h, whose first_lanes is another.

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "kernels/attention/lanes_avx2.h"
#include "kernels/numerics.h"

namespace kvtape::kernels {
namespace {

// Sixteen exp_f32, bit for bit, as exp8.
inline __m512 exp16(__m512 x) noexcept {
  const __m512 n =
      _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(kLog2E)), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  __m512 r = _mm512_fmadd_ps(n, _mm512_set1_ps(-kLn2Hi), x);
  r = _mm512_fmadd_ps(n, _mm512_set1_ps(-kLn2Lo), r);
  __m512 p = _mm512_set1_ps(kExpSeries[7]);
  for (int i = 6; i >= 0; --i) p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(kExpSeries[i]));
  const __m512i scale = _mm512_slli_epi32(_mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127)), 23);
  __m512 y = _mm512_mul_ps(p, _mm512_castsi512_ps(scale));
  y = _mm512_mask_blend_ps(_mm512_cmp_ps_mask(x, _mm512_set1_ps(kExpMax), _CMP_GT_OQ), y,
                           _mm512_set1_ps(__builtin_inff()));
  y = _mm512_mask_blend_ps(_mm512_cmp_ps_mask(x, _mm512_set1_ps(kExpMin), _CMP_LT_OQ), y, _mm512_setzero_ps());
  return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), y, x);
}

struct Lanes16 {
  using Vec = __m512;
  static constexpr std::size_t kWidth = 16;

  static Vec zero() noexcept { return _mm512_setzero_ps(); }
  static Vec all(float x) noexcept { return _mm512_set1_ps(x); }
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
  static Vec max(Vec a, Vec b) noexcept { return _mm512_max_ps(a, b); }  // b where they are equal
  static Vec exp(Vec x) noexcept { return exp16(x); }
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
