#pragma once
// 8-lane helpers of the AVX2 kernels; included by `_avx2` files only. Internal linkage, as in numerics.h.

#include <immintrin.h>

#include "kernels/numerics.h"

namespace kvtape::kernels {

// Eight exp_f32, bit for bit: limits and NaN are put back at the end, so lanes outside the range may compute anything.
static inline __m256 exp8(__m256 x) {
  const __m256 n =
      _mm256_round_ps(_mm256_mul_ps(x, _mm256_set1_ps(kLog2E)), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  __m256 r = _mm256_fmadd_ps(n, _mm256_set1_ps(-kLn2Hi), x);
  r = _mm256_fmadd_ps(n, _mm256_set1_ps(-kLn2Lo), r);
  __m256 p = _mm256_set1_ps(kExpSeries[7]);
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(kExpSeries[6]));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(kExpSeries[5]));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(kExpSeries[4]));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(kExpSeries[3]));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(kExpSeries[2]));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(kExpSeries[1]));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(kExpSeries[0]));
  const __m256i scale = _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23);
  __m256 y = _mm256_mul_ps(p, _mm256_castsi256_ps(scale));
  const __m256 above = _mm256_cmp_ps(x, _mm256_set1_ps(kExpMax), _CMP_GT_OQ);
  const __m256 below = _mm256_cmp_ps(x, _mm256_set1_ps(kExpMin), _CMP_LT_OQ);
  y = _mm256_blendv_ps(y, _mm256_set1_ps(__builtin_inff()), above);
  y = _mm256_andnot_ps(below, y);
  return _mm256_blendv_ps(y, x, _mm256_cmp_ps(x, x, _CMP_UNORD_Q));
}

// reduce_lanes of 16 lanes: low holds lanes 0 to 7, high lanes 8 to 15.
static inline float reduce16(__m256 low, __m256 high) {
  const __m256 eight = _mm256_add_ps(low, high);
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

// The largest lane; of a NaN and a number, whichever max_ps takes.
static inline float max8(__m256 x) {
  const __m128 four = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
  const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}

static inline __m256 load8_f16(const void* p) {
  return _mm256_cvtph_ps(_mm_loadu_si128(static_cast<const __m128i*>(p)));
}

// All-ones in the first n lanes of 8 (n at most 8), for maskload and maskstore.
static inline __m256i first_lanes(size_t n) {
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), lane);
}

// Four int8 columns of an activation row, to every row's 4 bytes of a packed weight group.
static inline __m256i broadcast4(const int8_t* q) {
  int32_t four;
  memcpy(&four, q, sizeof four);
  return _mm256_set1_epi32(four);
}

// Writes 16 output rows of a tile, or as many as n_rows says where the tile is the last.
static inline void store_rows(float* y, __m256 low, __m256 high, size_t n_rows) {
  if (n_rows >= kTileRows) {
    _mm256_storeu_ps(y, low);
    _mm256_storeu_ps(y + 8, high);
    return;
  }
  _mm256_maskstore_ps(y, first_lanes(n_rows < 8 ? n_rows : 8), low);
  if (n_rows > 8) _mm256_maskstore_ps(y + 8, first_lanes(n_rows - 8), high);
}

}  // namespace kvtape::kernels
