#include "kernels/linear/quantize_rows.h"

#include <immintrin.h>

#include "kernels/numerics.h"

namespace kvtape::kernels::avx512 {
namespace {

constexpr size_t kStep = 4;  // blocks side by side: they share the divisions, and what is done across lanes

// The largest |x| of four blocks, compared as integers: the order of non-negative floats, with infinity and NaN on top.
inline __m128 largest_magnitudes(const __m512 (&x)[kStep][2]) {
  const __m512i magnitude = _mm512_set1_epi32(0x7fffffff);
  __m512i m[kStep];
  for (size_t i = 0; i < kStep; ++i) {
    m[i] = _mm512_max_epi32(_mm512_and_si512(_mm512_castps_si512(x[i][0]), magnitude),
                            _mm512_and_si512(_mm512_castps_si512(x[i][1]), magnitude));
  }
  const __m512i m01 = _mm512_max_epi32(_mm512_unpacklo_epi32(m[0], m[1]), _mm512_unpackhi_epi32(m[0], m[1]));
  const __m512i m23 = _mm512_max_epi32(_mm512_unpacklo_epi32(m[2], m[3]), _mm512_unpackhi_epi32(m[2], m[3]));
  const __m512i all = _mm512_max_epi32(_mm512_unpacklo_epi64(m01, m23), _mm512_unpackhi_epi64(m01, m23));
  const __m256i eight = _mm256_max_epi32(_mm512_castsi512_si256(all), _mm512_extracti64x4_epi64(all, 1));
  return _mm_castsi128_ps(_mm_max_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1)));
}

// The int8 of two blocks, from the int32 of each 16 columns.
inline __m512i pack(const __m512i (&a)[2], const __m512i (&b)[2]) {
  const __m512i bytes = _mm512_packs_epi16(_mm512_packs_epi32(a[0], a[1]), _mm512_packs_epi32(b[0], b[1]));
  // undoes the 128-bit lanes of the two packs
  return _mm512_permutexvar_epi32(_mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), bytes);
}

// The sums of each 16 int8 of four blocks, as eight int16.
inline __m128i half_sums(__m512i q01, __m512i q23) {
  const __m512i ones = _mm512_set1_epi8(1);
  const __m512i fours01 = _mm512_dpbusd_epi32(_mm512_setzero_si512(), ones, q01);  // four of each half
  const __m512i fours23 = _mm512_dpbusd_epi32(_mm512_setzero_si512(), ones, q23);
  __m512i sums = _mm512_add_epi32(_mm512_unpacklo_epi32(fours01, fours23), _mm512_unpackhi_epi32(fours01, fours23));
  sums = _mm512_add_epi32(sums, _mm512_shuffle_epi32(sums, _MM_PERM_BADC));
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 0, 0, 0, 0, 0, 0, 0, 0);
  return _mm256_cvtepi32_epi16(_mm512_castsi512_si256(_mm512_permutexvar_epi32(order, sums)));
}

// Blocks [at, at + n) of all, n at most kStep. Those past the last stand for it again, and are not written.
[[gnu::always_inline]] inline void quantize_blocks(const float* x, size_t n, const QuantizedRows& out, size_t at) {
  __m512 values[kStep][2];
  for (size_t i = 0; i < kStep; ++i) {
    const float* block = x + (i < n ? i : n - 1) * kBlockLen;
    values[i][0] = _mm512_loadu_ps(block);
    values[i][1] = _mm512_loadu_ps(block + 16);
  }
  const __m128 amax = largest_magnitudes(values);
  const __mmask8 finite = _mm_cmp_ps_mask(amax, _mm_set1_ps(__FLT_MAX__), _CMP_LE_OQ);
  if (finite != 0xf) {
    for (size_t i = 0; i < kStep; ++i) {
      if ((finite >> i & 1) == 0) values[i][0] = values[i][1] = _mm512_setzero_ps();
    }
  }
  const __mmask8 used = _mm_mask_cmp_ps_mask(finite, amax, _mm_set1_ps(kMinAmax), _CMP_GE_OQ);
  const __m128 none = _mm_maskz_mov_ps(static_cast<__mmask8>(~finite), _mm_set1_ps(__builtin_nanf("")));
  const __m128 d = _mm_mask_div_ps(none, used, amax, _mm_set1_ps(127.0f));
  alignas(16) float inverse[kStep];
  _mm_store_ps(inverse, _mm_maskz_div_ps(used, _mm_set1_ps(127.0f), amax));
  __m512i q[kStep][2];
  for (size_t i = 0; i < kStep; ++i) {
    for (size_t part = 0; part < 2; ++part) {  // rounds to nearest even
      q[i][part] = _mm512_cvtps_epi32(_mm512_mul_ps(values[i][part], _mm512_set1_ps(inverse[i])));
    }
  }
  const __m512i q01 = pack(q[0], q[1]), q23 = pack(q[2], q[3]);
  const __m128i halves = half_sums(q01, q23), sums = _mm_madd_epi16(halves, _mm_set1_epi16(1));
  const __m128 s = _mm_mul_ps(d, _mm_cvtepi32_ps(sums));
  int8_t* q_at = out.q + at * kBlockLen;
  if (n == kStep) {
    _mm512_storeu_si512(q_at, q01);
    _mm512_storeu_si512(q_at + 64, q23);
    _mm_storeu_ps(out.d + at, d);
    _mm_storeu_ps(out.s + at, s);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out.sum + at), sums);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out.half + 2 * at), halves);
    return;
  }
  const auto first = [](size_t n_lanes) { return ~uint64_t{0} >> (64 - n_lanes); };
  _mm512_mask_storeu_epi8(q_at, first(n < 2 ? 32 : 64), q01);
  if (n > 2) _mm512_mask_storeu_epi8(q_at + 64, first(32), q23);
  const auto lanes = static_cast<__mmask8>(first(n));
  _mm_mask_storeu_ps(out.d + at, lanes, d);
  _mm_mask_storeu_ps(out.s + at, lanes, s);
  _mm_mask_storeu_epi32(out.sum + at, lanes, sums);
  _mm_mask_storeu_epi16(out.half + 2 * at, static_cast<__mmask8>(first(2 * n)), halves);
}

}  // namespace

// Some 26 operations a block, half of them of 512 bits: 16 cycles on Zen 4 (avx2: 24). Bound by the chain from a block's
// maximum over the division to its sums, of which a core holds two at once.
void quantize_rows(const float* x, size_t x_stride, size_t n_rows, size_t dim, const QuantizedRows& out) noexcept {
  if (x_stride == dim) {  // one long row: fewer are left over at its end
    dim *= n_rows;
    n_rows = 1;
  }
  const size_t n_blocks = dim / kBlockLen;
  for (size_t r = 0; r < n_rows; ++r) {
    for (size_t b = 0; b < n_blocks; b += kStep) {
      const size_t n = n_blocks - b < kStep ? n_blocks - b : kStep;
      quantize_blocks(x + r * x_stride + b * kBlockLen, n, out, r * n_blocks + b);
    }
  }
}

}  // namespace kvtape::kernels::avx512
