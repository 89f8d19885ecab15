#pragma once
// exp_f32 of vectors of 16, bit for bit; included by `_avx512` files only. Internal linkage, as in numerics.h.

#include <immintrin.h>

#include "kernels/numerics.h"

namespace kvtape::kernels {

// x = exp_f32(x) of n vectors, no lane above kExpMax (NaN may be). Step by step for all of them: each vector is one chain of
// 11 operations of the one FMA port and some others, and a core looks no further ahead than 3 vectors of them one by one:
// on Zen 4 a vector of 4 takes 11.2 cycles, one alone 13.5.
template <int n>
static inline void exp16_to_max(__m512 (&x)[n]) {
  __m512 power[n], r[n], p[n];
#pragma GCC unroll 8
  for (int i = 0; i < n; ++i) {
    power[i] = _mm512_roundscale_ps(_mm512_mul_ps(x[i], _mm512_set1_ps(kLog2E)),
                                    _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  }
#pragma GCC unroll 8
  for (int i = 0; i < n; ++i) r[i] = _mm512_fmadd_ps(power[i], _mm512_set1_ps(-kLn2Hi), x[i]);
#pragma GCC unroll 8
  for (int i = 0; i < n; ++i) {
    r[i] = _mm512_fmadd_ps(power[i], _mm512_set1_ps(-kLn2Lo), r[i]);
    p[i] = _mm512_set1_ps(kExpSeries[7]);
  }
#pragma GCC unroll 8
  for (int term = 6; term >= 0; --term) {
#pragma GCC unroll 8
    for (int i = 0; i < n; ++i) p[i] = _mm512_fmadd_ps(p[i], r[i], _mm512_set1_ps(kExpSeries[term]));
  }
#pragma GCC unroll 8
  for (int i = 0; i < n; ++i) {
    const __mmask16 not_below = _mm512_cmp_ps_mask(x[i], _mm512_set1_ps(kExpMin), _CMP_NLT_UQ);
    x[i] = _mm512_maskz_scalef_ps(not_below, p[i], power[i]);  // p * 2^power, of a NaN too
  }
}

// The same for any x.
template <int n>
static inline void exp16(__m512 (&x)[n]) {
  __mmask16 above[n];
#pragma GCC unroll 8
  for (int i = 0; i < n; ++i) above[i] = _mm512_cmp_ps_mask(x[i], _mm512_set1_ps(kExpMax), _CMP_GT_OQ);
  exp16_to_max(x);
#pragma GCC unroll 8
  for (int i = 0; i < n; ++i) x[i] = _mm512_mask_mov_ps(x[i], above[i], _mm512_set1_ps(__builtin_inff()));
}

}  // namespace kvtape::kernels
