#pragma once
// What the AVX2 kernels of quantised weights share: the walk over tiles, tokens, chains and blocks, and products of 4- and
// 5-bit values. Included by `_avx2` files only. Internal linkage, as in numerics.h.
//
// A Format is one block of a tile, 16 rows of 32 columns:
//   Format(const std::byte* tile, size_t b);
//   template <int T> void dots(const QuantizedRows& x, size_t b, size_t n_cols, __m256i (&dot)[T][2]) const;
//     the integers that d_w * d_x multiplies, of T tokens; [2]: rows 0 to 7 and 8 to 15
//   __m256 scale(int h) const, minimum(int h) const;         d_w and m_w of 8 rows; minimum only where kWithMinimum
//   static constexpr bool kWithMinimum; static constexpr size_t kRowLen, kRowBytes;

#include <immintrin.h>

#include "kernels/linear/matmul.h"
#include "kernels/linear/token_blocks.h"
#include "kernels/numerics.h"
#include "kernels/vector_avx2.h"

namespace kvtape::kernels::avx2 {

static inline __m256i load32(const std::byte* p) { return _mm256_load_si256(reinterpret_cast<const __m256i*>(p)); }

// Eight unsigned bytes, as floats.
static inline __m256 load8_u8(const std::byte* p) {
  return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
}

// Columns 4g to 4g + 3 (part 0) or 16 + 4g to 16 + 4g + 3 (part 1) of rows 8h to 8h + 7, as bytes.
template <int bits, int part>
static inline __m256i load_quants(const std::byte* block, int g, int h) {
  const __m256i nibbles = load32(block + 64 * g + 32 * h);
  const __m256i low = _mm256_and_si256(part == 0 ? nibbles : _mm256_srli_epi16(nibbles, 4), _mm256_set1_epi8(15));
  if (bits == 4) return low;
  const __m256i high = load32(block + 256 + 32 * h);
  const __m256i shifted = part == 0 ? _mm256_slli_epi16(high, 4 - g) : _mm256_srli_epi16(high, g);
  return _mm256_or_si256(low, _mm256_and_si256(shifted, _mm256_set1_epi8(16)));
}

// dot = Σ n * q of 32 columns. An int16 lane of `pairs` sums the products of one row that fall on it before it is widened:
// 16 of 4 bits, at most 16 * 15 * 127 = 30480, or 8 of 5 bits, at most 8 * 31 * 127 = 31496.
template <int bits, int T>
static inline void dot_quants(const std::byte* block, const int8_t* q, size_t n_cols, __m256i (&dot)[T][2]) {
  constexpr int n_groups = bits == 4 ? 4 : 2;
#pragma GCC unroll 2
  for (int first = 0; first < 4; first += n_groups) {
    __m256i pairs[T][2];
#pragma GCC unroll 4
    for (int g = first; g < first + n_groups; ++g) {
      const __m256i low0 = load_quants<bits, 0>(block, g, 0), low1 = load_quants<bits, 0>(block, g, 1);
      const __m256i high0 = load_quants<bits, 1>(block, g, 0), high1 = load_quants<bits, 1>(block, g, 1);
#pragma GCC unroll 4
      for (int t = 0; t < T; ++t) {
        const __m256i x_low = broadcast4(q + t * n_cols + 4 * g);
        const __m256i x_high = broadcast4(q + t * n_cols + 4 * g + 16);
        const __m256i l0 = _mm256_maddubs_epi16(low0, x_low), l1 = _mm256_maddubs_epi16(low1, x_low);
        pairs[t][0] = g == first ? l0 : _mm256_add_epi16(pairs[t][0], l0);
        pairs[t][1] = g == first ? l1 : _mm256_add_epi16(pairs[t][1], l1);
        pairs[t][0] = _mm256_add_epi16(pairs[t][0], _mm256_maddubs_epi16(high0, x_high));
        pairs[t][1] = _mm256_add_epi16(pairs[t][1], _mm256_maddubs_epi16(high1, x_high));
      }
    }
#pragma GCC unroll 4
    for (int t = 0; t < T; ++t) {
      for (int h = 0; h < 2; ++h) {
        const __m256i sums = _mm256_madd_epi16(pairs[t][h], _mm256_set1_epi16(1));
        dot[t][h] = first == 0 ? sums : _mm256_add_epi32(dot[t][h], sums);
      }
    }
  }
}

// 16 rows of one tile times T tokens.
template <class Format, int T>
static inline void tile_tokens(const std::byte* tile, size_t n_cols, const QuantizedRows& x, float* y, size_t y_stride,
                               size_t n_rows) {
  constexpr size_t kStep =
      Format::kRowBytes * kTileRows / (Format::kRowLen / kBlockLen);  // bytes of a block, on average
  const size_t n_blocks = n_cols / kBlockLen;
  __m256 total[T][2], acc[T][2];
  for (size_t c = 0; c < kChains; ++c) {
    for (int t = 0; t < T; ++t) acc[t][0] = acc[t][1] = _mm256_setzero_ps();
    const size_t end = chain_begin(c + 1, n_blocks);
    for (size_t b = chain_begin(c, n_blocks); b < end; ++b) {
      const Format block(tile, b);
      prefetch_ahead<T>(tile + b * kStep, kStep);
      __m256i dot[T][2];
      block.template dots<T>(x, b, n_cols, dot);
#pragma GCC unroll 2
      for (int h = 0; h < 2; ++h) {
        const __m256 d_w = block.scale(h), m_w = Format::kWithMinimum ? block.minimum(h) : _mm256_setzero_ps();
#pragma GCC unroll 4
        for (int t = 0; t < T; ++t) {
          const __m256 d = _mm256_mul_ps(d_w, _mm256_broadcast_ss(x.d + t * n_blocks + b));
          acc[t][h] = _mm256_fmadd_ps(d, _mm256_cvtepi32_ps(dot[t][h]), acc[t][h]);
          if (Format::kWithMinimum) {
            acc[t][h] = _mm256_fmadd_ps(m_w, _mm256_broadcast_ss(x.s + t * n_blocks + b), acc[t][h]);
          }
        }
      }
    }
    for (int t = 0; t < T; ++t) {
      total[t][0] = c == 0 ? acc[t][0] : _mm256_add_ps(total[t][0], acc[t][0]);
      total[t][1] = c == 0 ? acc[t][1] : _mm256_add_ps(total[t][1], acc[t][1]);
    }
  }
  for (int t = 0; t < T; ++t) store_rows(y + t * y_stride, total[t][0], total[t][1], n_rows);
}

template <class Format>
static inline void matmul_tiles(const PackedMatrix& w, const QuantizedRows& x, const MatmulRange& range) {
  const size_t tile_bytes = w.n_cols / Format::kRowLen * Format::kRowBytes * kTileRows;
  for (size_t r = range.row_begin; r < range.row_end; r += kTileRows) {
    const std::byte* tile = w.data + r / kTileRows * tile_bytes;
    const size_t n_rows = range.row_end - r;
    for (size_t t = 0; t < range.n_tokens;) {
      const QuantizedRows from = rows_from(x, t, w.n_cols);
      float* y = range.y + t * range.y_stride + r;
      const size_t n = tokens_of_pass(range.n_tokens - t, 4);
      switch (n) {
        case 1: tile_tokens<Format, 1>(tile, w.n_cols, from, y, range.y_stride, n_rows); break;
        case 2: tile_tokens<Format, 2>(tile, w.n_cols, from, y, range.y_stride, n_rows); break;
        case 3: tile_tokens<Format, 3>(tile, w.n_cols, from, y, range.y_stride, n_rows); break;
        default: tile_tokens<Format, 4>(tile, w.n_cols, from, y, range.y_stride, n_rows);
      }
      t += n;
    }
  }
}

}  // namespace kvtape::kernels::avx2
