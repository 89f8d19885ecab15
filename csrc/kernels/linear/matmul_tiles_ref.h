#pragma once
// What the scalar kernels of quantised weights share: the walk over tokens, rows, chains and blocks, and how a value is
// found in a tile (matmul.h). Included by `_ref` files only. Internal linkage, as in numerics.h.
//
// A Format says what one block of 32 columns adds:
//   static constexpr std::size_t kRowBytes, kRowLen;                        bytes of a row's unit string, per columns
//   static float add(const std::byte* tile, std::size_t b, std::size_t lane, const QuantizedRows& x, float acc);
//     tile: the tile's first byte; b: the block; lane: the row in the tile; x: one token's activations

#include <cstring>

#include "kernels/linear/matmul.h"
#include "kernels/numerics.h"
#include "tensor/half.h"

namespace kvtape::kernels::ref {

// The unit of type U at byte `at` of row `lane`, of a tile or of a part of one.
template <class U>
static inline U unit(const std::byte* tile, std::size_t at, std::size_t lane) noexcept {
  U value;
  std::memcpy(&value, tile + kTileRows * at + sizeof(U) * lane, sizeof value);
  return value;
}

static inline float half_unit(const std::byte* tile, std::size_t at, std::size_t lane) noexcept {
  return tensor::f16_to_f32(unit<std::uint16_t>(tile, at, lane));
}

// n of column i, 0 to 31, from the words at the beginning of `block`: 4 bits, 5 or 6.
template <int bits>
static inline int quant(const std::byte* block, std::size_t lane, std::size_t i) noexcept {
  const std::size_t part = i / 16, group = i % 16 / 4, byte = 8 * (i % 4);
  int n = static_cast<int>(unit<std::uint32_t>(block, 4 * group, lane) >> (byte + 4 * part) & 15);
  if (bits == 5) n |= static_cast<int>(unit<std::uint32_t>(block, 16, lane) >> (byte + 4 * part + group) & 1) << 4;
  if (bits == 6) n |= static_cast<int>(unit<std::uint32_t>(block, 16 + 4 * part, lane) >> (byte + 2 * group) & 3) << 4;
  return n;
}

// Σ n * q of columns [begin, end) of a block: at most 32 * 63 * 127.
template <int bits>
static inline std::int32_t dot(const std::byte* block, std::size_t lane, const std::int8_t* q, std::size_t begin,
                               std::size_t end) noexcept {
  std::int32_t sum = 0;
  for (std::size_t i = begin; i < end; ++i) sum += quant<bits>(block, lane, i) * q[i];
  return sum;
}

template <class Format>
static inline void matmul_tiles(const PackedMatrix& w, const QuantizedRows& x, const MatmulRange& range) noexcept {
  const std::size_t n_blocks = w.n_cols / kBlockLen;
  const std::size_t tile_bytes = w.n_cols / Format::kRowLen * Format::kRowBytes * kTileRows;
  for (std::size_t t = 0; t < range.n_tokens; ++t) {
    const QuantizedRows token = rows_from(x, t, w.n_cols);
    for (std::size_t r = range.row_begin; r < range.row_end; ++r) {
      const std::byte* tile = w.data + r / kTileRows * tile_bytes;
      float y = 0.0f;
      for (std::size_t c = 0; c < kChains; ++c) {
        float acc = 0.0f;
        for (std::size_t b = chain_begin(c, n_blocks); b < chain_begin(c + 1, n_blocks); ++b) {
          acc = Format::add(tile, b, r % kTileRows, token, acc);
        }
        y = c == 0 ? acc : y + acc;
      }
      range.y[t * range.y_stride + r] = y;
    }
  }
}

}  // namespace kvtape::kernels::ref
