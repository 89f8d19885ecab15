#pragma once
// What the AVX-512 kernels of quantised weights share: the walk over tiles, tokens, chains and blocks, and products of 4-
// and 5-bit values. Included by `_avx512` files only. Internal linkage, as in numerics.h.
//
// A Format is one block of a tile, 16 rows of 32 columns, a row in a lane:
//   Format(const std::byte* tile, size_t b);
//   template <int T> void dots(const QuantizedRows& x, size_t b, size_t n_cols, __m512i (&dot)[T]) const;
//     the integers that d_w * d_x multiplies, of T tokens
//   __m512 scale() const, minimum() const;                   d_w and m_w; minimum only where kWithMinimum
//   static constexpr bool kWithMinimum; static constexpr size_t kRowLen, kRowBytes;
//
// A register holds 4 columns of all 16 rows, and one vpdpbusd (unsigned weights by signed activations, summed in int32
// without saturation) does 64 products. Zen 4 multiplies on two pipes of 256 bits, so a block of 512 products takes 8
// cycles a token and one more for each product or FMA; what unpacks weights (shared by the tokens), converts and
// broadcasts runs on other pipes. See matmul_q4_avx512.cpp, also for the 8 tokens.

#include <immintrin.h>

#include "kernels/linear/matmul.h"
#include "kernels/linear/token_blocks.h"
#include "kernels/numerics.h"
#include "kernels/vector_avx512.h"

namespace kvtape::kernels::avx512 {

static constexpr size_t kMaxTokens = 8;  // of a register block

static inline __m512i load64(const std::byte* p) { return _mm512_loadu_si512(p); }

// 16 unsigned bytes, as floats.
static inline __m512 load16_u8(const std::byte* p) {
  return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_load_si128(reinterpret_cast<const __m128i*>(p))));
}

// The low halves of the bytes of `nibbles` (part 0) or the high ones (part 1).
template <int part>
static inline __m512i nibbles_of(__m512i nibbles) {
  return _mm512_and_si512(part == 0 ? nibbles : _mm512_srli_epi16(nibbles, 4), _mm512_set1_epi8(15));
}

// The same below the bits of `high` under `mask`.
template <int part>
static inline __m512i nibbles_with(__m512i nibbles, __m512i high, int mask) {
  const __m512i low = part == 0 ? nibbles : _mm512_srli_epi16(nibbles, 4);
  const __m512i above = _mm512_and_si512(high, _mm512_set1_epi8(static_cast<char>(mask)));
  return _mm512_ternarylogic_epi32(low, _mm512_set1_epi8(15), above, 0xEA);  // (low & 15) | above
}

// dot[t] += Σ w * x of 4 columns
template <int T>
static inline void add_products(__m512i w, const int8_t* q, size_t n_cols, __m512i (&dot)[T]) {
#pragma GCC unroll 8
  for (int t = 0; t < T; ++t) dot[t] = _mm512_dpbusd_epi32(dot[t], w, broadcast4(q + t * n_cols));
}

// dot[t] = Σ n * q of 32 columns, n of 4 bits or 5: at most 32 * 31 * 127.
template <int bits, int T>
static inline void dot_quants(const std::byte* block, const int8_t* q, size_t n_cols, __m512i (&dot)[T]) {
  for (int t = 0; t < T; ++t) dot[t] = _mm512_setzero_si512();
  const __m512i high = bits == 5 ? load64(block + 256) : _mm512_setzero_si512();
#pragma GCC unroll 4
  for (int g = 0; g < 4; ++g) {
    const __m512i nibbles = load64(block + 64 * g);
    if (bits == 4) {
      add_products<T>(nibbles_of<0>(nibbles), q + 4 * g, n_cols, dot);
      add_products<T>(nibbles_of<1>(nibbles), q + 4 * g + 16, n_cols, dot);
    } else {
      add_products<T>(nibbles_with<0>(nibbles, _mm512_slli_epi16(high, 4 - g), 16), q + 4 * g, n_cols, dot);
      add_products<T>(nibbles_with<1>(nibbles, _mm512_srli_epi16(high, g), 16), q + 4 * g + 16, n_cols, dot);
    }
  }
}

// 16 rows of one tile times T tokens.
template <class Format, int T>
static void tile_tokens(const std::byte* tile, size_t n_cols, const QuantizedRows& x, float* y, size_t y_stride,
                        size_t n_rows) {
  constexpr size_t kStep =
      Format::kRowBytes * kTileRows / (Format::kRowLen / kBlockLen);  // bytes of a block, on average
  const size_t n_blocks = n_cols / kBlockLen;
  __m512 total[T], acc[T];
  for (size_t c = 0; c < kChains; ++c) {
    for (int t = 0; t < T; ++t) acc[t] = _mm512_setzero_ps();
    const size_t end = chain_begin(c + 1, n_blocks);
    for (size_t b = chain_begin(c, n_blocks); b < end; ++b) {
      const Format block(tile, b);
      prefetch_ahead<T>(tile + b * kStep, kStep);
      // A stride that GCC knows to be the same in each block makes it keep an address for each load of a block, in vector
      // registers and on the stack: 1.3 times the instructions.
      size_t stride = n_cols;
      asm("" : "+r"(stride));
      __m512i dot[T];
      block.template dots<T>(x, b, stride, dot);
      const __m512 d_w = block.scale(), m_w = Format::kWithMinimum ? block.minimum() : d_w;
#pragma GCC unroll 8
      for (int t = 0; t < T; ++t) {
        const size_t at = t * n_blocks + b;
        const __m512 d = _mm512_mul_ps(d_w, _mm512_set1_ps(x.d[at]));
        acc[t] = _mm512_fmadd_ps(d, _mm512_cvtepi32_ps(dot[t]), acc[t]);
        if (Format::kWithMinimum) acc[t] = _mm512_fmadd_ps(m_w, _mm512_set1_ps(x.s[at]), acc[t]);
      }
    }
    for (int t = 0; t < T; ++t) total[t] = c == 0 ? acc[t] : _mm512_add_ps(total[t], acc[t]);
  }
  for (int t = 0; t < T; ++t) store_rows(y + t * y_stride, total[t], n_rows);
}

using TileTokens = void(const std::byte*, size_t, const QuantizedRows&, float*, size_t, size_t);

template <class Format>
static inline void matmul_tiles(const PackedMatrix& w, const QuantizedRows& x, const MatmulRange& range) {
  static constexpr TileTokens* kTileTokens[kMaxTokens] = {
      tile_tokens<Format, 1>, tile_tokens<Format, 2>, tile_tokens<Format, 3>, tile_tokens<Format, 4>,
      tile_tokens<Format, 5>, tile_tokens<Format, 6>, tile_tokens<Format, 7>, tile_tokens<Format, 8>};
  const size_t tile_bytes = w.n_cols / Format::kRowLen * Format::kRowBytes * kTileRows;
  for (size_t r = range.row_begin; r < range.row_end; r += kTileRows) {
    const std::byte* tile = w.data + r / kTileRows * tile_bytes;
    for (size_t t = 0; t < range.n_tokens;) {
      const size_t n = tokens_of_pass(range.n_tokens - t, kMaxTokens);
      kTileTokens[n - 1](tile, w.n_cols, rows_from(x, t, w.n_cols), range.y + t * range.y_stride + r, range.y_stride,
                         range.row_end - r);
      t += n;
    }
  }
}

}  // namespace kvtape::kernels::avx512
