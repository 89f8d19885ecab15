#pragma once
// Byte layout of quantised blocks in a model file: 32 or 256 elements of one row, little-endian, no padding.
//
//   Q8_0   34 B   | d f16 | q int8 x 32 |                              w[i] = d * q[i]
//   Q4_0   18 B   | d f16 | nibbles 16 B |                             w[i] = d * (n[i] - 8)
//   Q4_1   20 B   | d f16 | m f16 | nibbles 16 B |                     w[i] = d * n[i] + m
//   Q5_0   22 B   | d f16 | high 4 B | nibbles 16 B |                  w[i] = d * (n[i] - 16)
//   Q5_1   24 B   | d f16 | m f16 | high 4 B | nibbles 16 B |          w[i] = d * n[i] + m
//
// Nibbles: byte j holds n[j] in its low half and n[j + 16] in its high half. High: bit i is bit 4 of n[i].
//
// The K types hold 256 elements, in 8 sub-blocks of 32 (s = i / 32) or 16 of 16:
//
//   Q4_K  144 B   | d f16 | dmin f16 | scales 12 B | nibbles 128 B |             w[i] = d * sc[s] * n[i] - dmin * m[s]
//   Q5_K  176 B   | d f16 | dmin f16 | scales 12 B | high 32 B | nibbles 128 B | the same
//   Q6_K  210 B   | nibbles 128 B | high 64 B | sc int8 x 16 | d f16 |           w[i] = d * sc[i / 16] * (n[i] - 32)
//
// Nibbles of Q4_K and Q5_K: sub-blocks 2p and 2p + 1 share 32 bytes; byte 32 p + j holds n[64 p + j] in its low half and
// n[64 p + 32 + j] in its high half. High of Q5_K: bit s of byte j is bit 4 of n[32 s + j].
// Scales: 6 bits each of sc and m.  byte s, s < 4:      sc[s] in bits 0-5, bits 4-5 of sc[s + 4] in bits 6-7
//                                   byte 4 + s, s < 4:  m[s] in bits 0-5, bits 4-5 of m[s + 4] in bits 6-7
//                                   byte 8 + s, s < 4:  bits 0-3 of sc[s + 4] in the low half, of m[s + 4] in the high
// Q6_K, in each half h of 128 elements: byte 64 h + j of the nibbles, j < 64, holds bits 0-3 of n[128 h + j] in its low
// half and of n[128 h + 64 + j] in its high half; bits 2t, 2t + 1 of byte 32 h + j of high, j < 32, are bits 4-5 of
// n[128 h + 32 t + j].

#include <cstddef>
#include <cstdint>

namespace kvtape::tensor {

inline constexpr std::size_t kQuantBlockLen = 32, kSuperBlockLen = 256;

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
struct BlockQ5_0 {
  std::uint16_t d;
  std::uint8_t high[4], nibbles[16];
};
struct BlockQ5_1 {
  std::uint16_t d, m;
  std::uint8_t high[4], nibbles[16];
};
struct BlockQ4_K {
  std::uint16_t d, dmin;
  std::uint8_t scales[12], nibbles[128];
};
struct BlockQ5_K {
  std::uint16_t d, dmin;
  std::uint8_t scales[12], high[32], nibbles[128];
};
struct BlockQ6_K {
  std::uint8_t nibbles[128], high[64];
  std::int8_t scales[16];
  std::uint16_t d;
};

static_assert(sizeof(BlockQ8_0) == 34 && sizeof(BlockQ4_0) == 18 && sizeof(BlockQ4_1) == 20);
static_assert(sizeof(BlockQ5_0) == 22 && sizeof(BlockQ5_1) == 24);
static_assert(sizeof(BlockQ4_K) == 144 && sizeof(BlockQ5_K) == 176 && sizeof(BlockQ6_K) == 210);

}  // namespace kvtape::tensor
