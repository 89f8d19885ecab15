#pragma once
// What the NEON kernels of quantised weights share: the walk over tiles, tokens, chains and blocks, and the integer
// products. Included by `_neon` files only. Internal linkage, as in numerics.h.
//
// A Format is one block of a tile, 16 rows of 32 columns:
//   Format(const std::byte* tile, size_t b);
//   template <int T> void dots(const QuantizedRows& x, size_t b, size_t n_cols, int32x4_t (&dot)[T][kVectors]) const;
//     the integers that d_w * d_x multiplies, of T tokens; [kVectors]: four rows each
//   float32x4_t scale(size_t h) const, minimum(size_t h) const;   d_w and m_w of 4 rows; minimum only where kWithMinimum
//   static constexpr bool kWithMinimum; static constexpr size_t kRowLen, kRowBytes;
//
// A register holds 4 columns of 4 rows, and one dot product (signed bytes, summed in int32) multiplies them by 4 columns
// of a token, which it takes from the register that holds 16 of them. Weights of 4, 5 or 6 bits are positive as signed
// bytes, too, so all formats share it. 4 tokens have 16 integer sums; weights and activations take the other registers.

#include "kernels/linear/matmul.h"
#include "kernels/linear/token_blocks.h"
#include "kernels/vector_neon.h"

namespace kvtape::kernels::neon {

static constexpr size_t kMaxTokens = 4;  // of a register block

static inline uint8x16_t load16(const std::byte* p) { return vld1q_u8(reinterpret_cast<const uint8_t*>(p)); }

// Four unsigned bytes, as floats.
static inline float32x4_t load4_u8(const std::byte* p) {
  uint32_t four;
  memcpy(&four, p, sizeof four);
  return vcvtq_f32_u32(vmovl_u16(vget_low_u16(vmovl_u8(vcreate_u8(four)))));
}

// Columns 16 part + 4g to 16 part + 4g + 3 of rows 4h to 4h + 3. bits: 8 for int8, or 4, 5 and 6.
template <int bits, size_t part, size_t g>
static inline int8x16_t load_quants(const std::byte* block, size_t h) {
  if constexpr (bits == 8) return vreinterpretq_s8_u8(load16(block + 64 * (4 * part + g) + 16 * h));
  const uint8x16_t nibbles = load16(block + 64 * g + 16 * h);
  uint8x16_t n = part == 0 ? vandq_u8(nibbles, vdupq_n_u8(15)) : vshrq_n_u8(nibbles, 4);
  if constexpr (bits == 5 || bits == 6) {  // bits 4 and 5 come from where matmul.h says, shifted up or down
    constexpr int to = 4 - (bits == 5 ? 4 * static_cast<int>(part) + static_cast<int>(g) : 2 * static_cast<int>(g));
    const uint8x16_t high = load16(block + (bits == 5 ? 256 : 256 + 64 * part) + 16 * h);
    n = vorrq_u8(n, vandq_u8(vshlq_u8(high, vdupq_n_s8(to)), vdupq_n_u8(bits == 5 ? 0x10 : 0x30)));
  }
  return vreinterpretq_s8_u8(n);
}

template <int bits, size_t part, size_t g, int T>
static inline void add_group(const std::byte* block, const int8x16_t (&x)[T], int32x4_t (&dot)[T][kVectors]) {
#pragma GCC unroll 4
  for (size_t h = 0; h < kVectors; ++h) {
    const int8x16_t w = load_quants<bits, part, g>(block, h);
#pragma GCC unroll 4
    for (int t = 0; t < T; ++t) dot[t][h] = vdotq_laneq_s32(dot[t][h], w, x[t], g);
  }
}

// dot[t] += Σ w * q of the 16 columns of part `part`.
template <int bits, size_t part, int T>
static inline void add_part(const std::byte* block, const int8_t* q, size_t n_cols, int32x4_t (&dot)[T][kVectors]) {
  int8x16_t x[T];
  for (int t = 0; t < T; ++t) x[t] = vld1q_s8(q + t * n_cols + 16 * part);
  add_group<bits, part, 0, T>(block, x, dot);
  add_group<bits, part, 1, T>(block, x, dot);
  add_group<bits, part, 2, T>(block, x, dot);
  add_group<bits, part, 3, T>(block, x, dot);
}

// dot[t] = -zero[t], in every row.
template <int T>
static inline void start_dots(int32x4_t (&dot)[T][kVectors], const int32_t (&zero)[T]) {
  for (int t = 0; t < T; ++t) {
    for (size_t h = 0; h < kVectors; ++h) dot[t][h] = vdupq_n_s32(-zero[t]);
  }
}

// dot[t] = Σ (w - zero) * q of 32 columns, at most 32 * 128 * 127.
template <int bits, int zero, int T>
static inline void dot_quants(const std::byte* block, const QuantizedRows& x, size_t b, size_t n_cols,
                              int32x4_t (&dot)[T][kVectors]) {
  int32_t offsets[T] = {};
  for (int t = 0; zero != 0 && t < T; ++t) offsets[t] = zero * x.sum[t * (n_cols / kBlockLen) + b];
  start_dots<T>(dot, offsets);
  add_part<bits, 0, T>(block, x.q + b * kBlockLen, n_cols, dot);
  add_part<bits, 1, T>(block, x.q + b * kBlockLen, n_cols, dot);
}

// 16 rows of one tile times T tokens.
template <class Format, int T>
static void tile_tokens(const std::byte* tile, size_t n_cols, const QuantizedRows& x, float* y, size_t y_stride,
                        size_t n_rows) {
  const size_t n_blocks = n_cols / kBlockLen;
  float32x4_t total[T][kVectors], acc[T][kVectors];
  for (size_t c = 0; c < kChains; ++c) {
    for (int t = 0; t < T; ++t) {
      for (size_t h = 0; h < kVectors; ++h) acc[t][h] = vdupq_n_f32(0.0f);
    }
    const size_t end = chain_begin(c + 1, n_blocks);
    for (size_t b = chain_begin(c, n_blocks); b < end; ++b) {
      const Format block(tile, b);
      int32x4_t dot[T][kVectors];
      block.template dots<T>(x, b, n_cols, dot);
#pragma GCC unroll 4
      for (size_t h = 0; h < kVectors; ++h) {
        const float32x4_t d_w = block.scale(h), m_w = Format::kWithMinimum ? block.minimum(h) : d_w;
#pragma GCC unroll 4
        for (int t = 0; t < T; ++t) {
          const size_t at = t * n_blocks + b;
          acc[t][h] = vfmaq_f32(acc[t][h], vmulq_n_f32(d_w, x.d[at]), vcvtq_f32_s32(dot[t][h]));
          if (Format::kWithMinimum) acc[t][h] = vfmaq_n_f32(acc[t][h], m_w, x.s[at]);
        }
      }
    }
    for (int t = 0; t < T; ++t) {
      for (size_t h = 0; h < kVectors; ++h) total[t][h] = c == 0 ? acc[t][h] : vaddq_f32(total[t][h], acc[t][h]);
    }
  }
  for (int t = 0; t < T; ++t) store_rows(y + t * y_stride, total[t], n_rows);
}

using TileTokens = void(const std::byte*, size_t, const QuantizedRows&, float*, size_t, size_t);

template <class Format>
static inline void matmul_tiles(const PackedMatrix& w, const QuantizedRows& x, const MatmulRange& range) {
  static constexpr TileTokens* kTileTokens[kMaxTokens] = {tile_tokens<Format, 1>, tile_tokens<Format, 2>,
                                                          tile_tokens<Format, 3>, tile_tokens<Format, 4>};
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

}  // namespace kvtape::kernels::neon
