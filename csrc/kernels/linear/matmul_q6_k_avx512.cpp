#include "kernels/linear/matmul_tiles_avx512.h"

namespace kvtape::kernels::avx512 {
namespace {

struct Q6_K {
  static constexpr size_t kBlockBytes = 26, kRowLen = 256, kRowBytes = 2 + 8 * kBlockBytes;
  static constexpr bool kWithMinimum = false;

  const std::byte *super, *block;

  Q6_K(const std::byte* tile, size_t b)
      : super(tile + b / 8 * kRowBytes * kTileRows), block(super + (2 + b % 8 * kBlockBytes) * kTileRows) {}

  // dot[t] = Σ n * q of the 16 columns of part `part`: at most 16 * 63 * 127.
  template <int part, int T>
  inline void dot_part(const int8_t* q, size_t n_cols, __m512i (&dot)[T]) const {
    for (int t = 0; t < T; ++t) dot[t] = _mm512_setzero_si512();
    const __m512i high = load64(block + (16 + 4 * part) * kTileRows);
#pragma GCC unroll 4
    for (int g = 0; g < 4; ++g) {
      const __m512i shifted = g < 2 ? _mm512_slli_epi16(high, 4 - 2 * g) : _mm512_srli_epi16(high, 2 * g - 4);
      add_products<T>(nibbles_with<part>(load64(block + 64 * g), shifted, 0x30), q + 16 * part + 4 * g, n_cols, dot);
    }
  }

  // The integer of Q6_K: sc_0 * dot_0 - 32 * (sc_0 * half_0 + sc_1 * half_1) + sc_1 * dot_1, each term below 2^25.
  template <int T>
  inline void dots(const QuantizedRows& x, size_t b, size_t n_cols, __m512i (&dot)[T]) const {
    const int8_t* q = x.q + b * kBlockLen;
    const __m512i sc = _mm512_cvtepi8_epi16(
        _mm256_loadu_si256(reinterpret_cast<const __m256i*>(block + 24 * kTileRows)));  // a pair of int16 a row
    const __m512i sc_0 = _mm512_srai_epi32(_mm512_slli_epi32(sc, 16), 16), sc_1 = _mm512_srai_epi32(sc, 16);
    const __m512i zero = _mm512_mullo_epi16(sc, _mm512_set1_epi16(-32));
    __m512i other[T];
    dot_part<0, T>(q, n_cols, dot);
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) {
      int32_t halves;
      memcpy(&halves, x.half + 2 * (t * (n_cols / kBlockLen) + b), sizeof halves);
      dot[t] = _mm512_dpwssd_epi32(_mm512_mullo_epi32(dot[t], sc_0), zero, _mm512_set1_epi32(halves));
    }
    dot_part<1, T>(q, n_cols, other);
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) dot[t] = _mm512_add_epi32(dot[t], _mm512_mullo_epi32(other[t], sc_1));
  }

  inline __m512 scale() const { return load16_f16(super); }
  inline __m512 minimum() const { return _mm512_setzero_ps(); }
};

}  // namespace

void matmul_q6_k(const PackedMatrix& w, const QuantizedRows& x, const MatmulRange& range) noexcept {
  matmul_tiles<Q6_K>(w, x, range);
}

}  // namespace kvtape::kernels::avx512
