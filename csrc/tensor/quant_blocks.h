#pragma once
// Byte layout of quantised blocks in a model file: 32 elements of one row, little-endian, no padding.
//
//   Q8_0  34 B   | d f16 | q int8 x 32 |                     w[i] = d * q[i]
//   Q4_0  18 B   | d f16 | nibbles 16 B |                    w[i] = d * (n[i] - 8)
//   Q4_1  20 B   | d f16 | m f16 | nibbles 16 B |            w[i] = d * n[i] + m
//
// Nibbles: byte j holds n[j] in its low half and n[j + 16] in its high half.

#include <cstddef>
#include <cstdint>

namespace kvtape::tensor {

inline constexpr std::size_t kQuantBlockLen = 32;

struct BlockQ8_0 {
  std::uint16_t d;
  std::int8_t q[32];
};
struct BlockQ4_0 {
  std::uint16_t d;
  std::uint8_t nibbles[16];
};
struct BlockQ4_1 {
  std::uint16_t d, m;
  std::uint8_t nibbles[16];
};

static_assert(sizeof(BlockQ8_0) == 34 && sizeof(BlockQ4_0) == 18 && sizeof(BlockQ4_1) == 20);

}  // namespace kvtape::tensor
