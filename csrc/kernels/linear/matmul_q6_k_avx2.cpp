#include "kernels/linear/matmul_tiles_avx2.h"

namespace kvtape::kernels::avx2 {
namespace {

struct Q6_K {
  static constexpr size_t kBlockBytes = 26, kRowLen = 256, kRowBytes = 2 + 8 * kBlockBytes;
  static constexpr bool kWithMinimum = false;

  const std::byte *super, *block;

  Q6_K(const std::byte* tile, size_t b)
      : super(tile + b / 8 * kRowBytes * kTileRows), block(super + (2 + b % 8 * kBlockBytes) * kTileRows) {}

  // Columns 4g to 4g + 3 of 16-column part `part`, rows 8h to 8h + 7, as bytes.
  template <int part>
  inline __m256i quants(int g, int h) const {
    const __m256i high = load32(block + (16 + 4 * part) * kTileRows + 32 * h);
    const __m256i shifted = g < 2 ? _mm256_slli_epi16(high, 4 - 2 * g) : _mm256_srli_epi16(high, 2 * g - 4);
    return _mm256_or_si256(load_quants<4, part>(block, g, h), _mm256_and_si256(shifted, _mm256_set1_epi8(0x30)));
  }

  // The sub-scales of 8 rows as pairs of int16.
  inline __m256i scales(int h) const {
    return _mm256_cvtepi8_epi16(_mm_load_si128(reinterpret_cast<const __m128i*>(block + 24 * kTileRows + 16 * h)));
  }

  // dot += sc * Σ n * q of part `part`. An int16 lane of `pairs` sums 4 products, at most 4 * 63 * 127 = 32004; madd
  // multiplies it by the sub-scale as it widens: at most 2 * 32004 * 128 there, 2^25 in the end.
  template <int part, int T>
  inline void add_part(const int8_t* q, size_t n_cols, __m256i (&dot)[T][2]) const {
    const __m256i both = _mm256_set1_epi32(part == 0 ? 0x01000100 : 0x03020302);  // bytes of sc_0 or sc_1, twice
    const __m256i pick = _mm256_add_epi8(
        both, _mm256_setr_epi32(0, 0x04040404, 0x08080808, 0x0c0c0c0c, 0, 0x04040404, 0x08080808, 0x0c0c0c0c));
#pragma GCC unroll 2
    for (int first = 0; first < 4; first += 2) {
      __m256i pairs[T][2];
#pragma GCC unroll 2
      for (int g = first; g < first + 2; ++g) {
        const __m256i w0 = quants<part>(g, 0), w1 = quants<part>(g, 1);
#pragma GCC unroll 4
        for (int t = 0; t < T; ++t) {
          const __m256i x4 = broadcast4(q + t * n_cols + 16 * part + 4 * g);
          const __m256i n0 = _mm256_maddubs_epi16(w0, x4), n1 = _mm256_maddubs_epi16(w1, x4);
          pairs[t][0] = g == first ? n0 : _mm256_add_epi16(pairs[t][0], n0);
          pairs[t][1] = g == first ? n1 : _mm256_add_epi16(pairs[t][1], n1);
        }
      }
#pragma GCC unroll 2
      for (int h = 0; h < 2; ++h) {
        const __m256i sc = _mm256_shuffle_epi8(scales(h), pick);
#pragma GCC unroll 4
        for (int t = 0; t < T; ++t) {
          const __m256i scaled = _mm256_madd_epi16(pairs[t][h], sc);
          dot[t][h] = part == 0 && first == 0 ? scaled : _mm256_add_epi32(dot[t][h], scaled);
        }
      }
    }
  }

  template <int T>
  inline void dots(const QuantizedRows& x, size_t b, size_t n_cols, __m256i (&dot)[T][2]) const {
    add_part<0, T>(x.q + b * kBlockLen, n_cols, dot);
    add_part<1, T>(x.q + b * kBlockLen, n_cols, dot);
#pragma GCC unroll 2
    for (int h = 0; h < 2; ++h) {
      const __m256i zero = _mm256_slli_epi16(scales(h), 5);
#pragma GCC unroll 4
      for (int t = 0; t < T; ++t) {
        int32_t halves;
        memcpy(&halves, x.half + 2 * (t * (n_cols / kBlockLen) + b), sizeof halves);
        // 32 * (sc_0 * half_0 + sc_1 * half_1)
        dot[t][h] = _mm256_sub_epi32(dot[t][h], _mm256_madd_epi16(zero, _mm256_set1_epi32(halves)));
      }
    }
  }

  inline __m256 scale(int h) const { return load8_f16(super + 16 * h); }
  inline __m256 minimum(int) const { return _mm256_setzero_ps(); }
};

}  // namespace

void matmul_q6_k(const PackedMatrix& w, const QuantizedRows& x, const MatmulRange& range) noexcept {
  matmul_tiles<Q6_K>(w, x, range);
}

}  // namespace kvtape::kernels::avx2
