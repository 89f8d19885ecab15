#include "kernels/linear/quantize_rows.h"

#include <immintrin.h>

#include "kernels/numerics.h"

namespace kvtape::kernels::avx2 {
namespace {

// The largest |x| of 32 elements, compared as integers: the order of non-negative floats, with infinity and NaN on top.
inline float largest_magnitude(__m256 x0, __m256 x1, __m256 x2, __m256 x3) {
  const __m256i magnitude = _mm256_set1_epi32(0x7fffffff);
  const __m256i m01 = _mm256_max_epi32(_mm256_and_si256(_mm256_castps_si256(x0), magnitude),
                                       _mm256_and_si256(_mm256_castps_si256(x1), magnitude));
  const __m256i m23 = _mm256_max_epi32(_mm256_and_si256(_mm256_castps_si256(x2), magnitude),
                                       _mm256_and_si256(_mm256_castps_si256(x3), magnitude));
  const __m256i eight = _mm256_max_epi32(m01, m23);
  __m128i four = _mm_max_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
  four = _mm_max_epi32(four, _mm_shuffle_epi32(four, _MM_SHUFFLE(1, 0, 3, 2)));
  four = _mm_max_epi32(four, _mm_shuffle_epi32(four, _MM_SHUFFLE(2, 3, 0, 1)));
  return _mm_cvtss_f32(_mm_castsi128_ps(four));
}

// The sums of 16 int8 each, as two int16: pairs by maddubs with ones (at most 2 * 127), fours by madd, and so on.
inline int32_t half_sums(__m256i q) {
  const __m128i ones = _mm_set1_epi16(1);
  const __m256i pairs = _mm256_maddubs_epi16(_mm256_set1_epi8(1), q);
  const __m256i fours = _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
  const __m128i both = _mm_packs_epi32(_mm256_castsi256_si128(fours), _mm256_extracti128_si256(fours, 1));
  const __m128i eights = _mm_madd_epi16(both, ones);  // two of each half
  const __m128i halves = _mm_madd_epi16(_mm_packs_epi32(eights, eights), ones);
  return _mm_cvtsi128_si32(_mm_packs_epi32(halves, halves));
}

}  // namespace

// About 40 vector operations and 2 scalar divisions a block of 32, and two horizontal chains of some 15 cycles each,
// which overlap from block to block: bound by operations, about 15 cycles a block.
void quantize_rows(const float* x, size_t x_stride, size_t n_rows, size_t dim, const QuantizedRows& out) noexcept {
  const size_t n_blocks = dim / kBlockLen;
  const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);  // undoes the 128-bit halves of the two packs
  for (size_t r = 0; r < n_rows; ++r) {
    const float* block = x + r * x_stride;
    int8_t* q = out.q + r * dim;
    for (size_t b = 0; b < n_blocks; ++b, block += kBlockLen, q += kBlockLen) {
      const __m256 x0 = _mm256_loadu_ps(block), x1 = _mm256_loadu_ps(block + 8);
      const __m256 x2 = _mm256_loadu_ps(block + 16), x3 = _mm256_loadu_ps(block + 24);
      const float amax = largest_magnitude(x0, x1, x2, x3);
      const bool finite = amax <= __FLT_MAX__;
      float d = finite ? 0.0f : __builtin_nanf("");
      int32_t halves = 0;
      __m256i packed = _mm256_setzero_si256();
      if (finite && amax >= kMinAmax) {
        d = amax / 127.0f;
        const __m256 inverse = _mm256_set1_ps(127.0f / amax);
        const __m256i q0 = _mm256_cvtps_epi32(_mm256_mul_ps(x0, inverse));  // rounds to nearest even
        const __m256i q1 = _mm256_cvtps_epi32(_mm256_mul_ps(x1, inverse));
        const __m256i q2 = _mm256_cvtps_epi32(_mm256_mul_ps(x2, inverse));
        const __m256i q3 = _mm256_cvtps_epi32(_mm256_mul_ps(x3, inverse));
        packed = _mm256_packs_epi16(_mm256_packs_epi32(q0, q1), _mm256_packs_epi32(q2, q3));
        packed = _mm256_permutevar8x32_epi32(packed, order);
        halves = half_sums(packed);
      }
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(q), packed);
      const size_t at = r * n_blocks + b;
      out.d[at] = d;
      memcpy(out.half + 2 * at, &halves, sizeof halves);
      const int32_t sum = static_cast<int16_t>(halves) + (halves >> 16);
      out.sum[at] = sum;
      out.s[at] = d * static_cast<float>(sum);
    }
  }
}

}  // namespace kvtape::kernels::avx2
