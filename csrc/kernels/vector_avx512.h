#pragma once
// 16-lane helpers of the AVX-512 kernels; included by `_avx512` files only. Internal linkage, as in numerics.h.

#include <immintrin.h>

#include "kernels/numerics.h"

namespace kvtape::kernels {

static inline __m512 load16_f16(const void* p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(static_cast<const __m256i*>(p)));
}

// The first n lanes of 16.
static inline __mmask16 first_lanes(size_t n) { return static_cast<__mmask16>(n < 16 ? (1u << n) - 1 : 0xffffu); }

// Four int8 columns of an activation row, to every row's 4 bytes of a packed weight group.
static inline __m512i broadcast4(const int8_t* q) {
  int32_t four;
  memcpy(&four, q, sizeof four);
  return _mm512_set1_epi32(four);
}

// Writes 16 output rows of a tile, or as many as n_rows says where the tile is the last.
static inline void store_rows(float* y, __m512 rows, size_t n_rows) {
  _mm512_mask_storeu_ps(y, first_lanes(n_rows), rows);
}

}  // namespace kvtape::kernels
