#include "ops/row_units.h"

#include <cstdint>
#include <cstring>

#include "tensor/half.h"
#include "tensor/quant_blocks.h"

namespace kvtape::ops {
namespace {

using tensor::DType;
using tensor::kQuantBlockLen;
using Byte = std::uint8_t;

template <class T>
T load(const std::byte* from) noexcept {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

float half(const std::byte* from) noexcept { return tensor::f16_to_f32(load<std::uint16_t>(from)); }

void put(std::byte* to, Byte byte) noexcept { *to = static_cast<std::byte>(byte); }

// Bit 4 of 32 columns, bit i for column i, to the word h of Q5: byte j takes bits j, j + 4, ... j + 28, ascending.
void put_fifth_bits(std::uint32_t bits, std::byte* h) noexcept {
  for (unsigned j = 0; j < 4; ++j) {
    std::uint32_t x = bits >> j & 0x11111111;
    x = (x | x >> 3) & 0x03030303;
    x = (x | x >> 6) & 0x000f000f;
    put(h + j, static_cast<Byte>(x | x >> 12));
  }
}

// d, m where there is one, high bits where there are, nibbles: the file's order of the types with blocks of 32.
void regroup_32(const std::byte* block, std::size_t n_halves, bool high, std::byte* units) noexcept {
  const std::byte* values = block + 2 * n_halves;
  std::memcpy(units, values + (high ? 4 : 0), 16);
  if (high) put_fifth_bits(load<std::uint32_t>(values), units + 16);
  std::memcpy(units + (high ? 20 : 16), block, 2 * n_halves);
}

// The nibbles of 32 columns, given as the low halves of 32 bytes, to 4 words.
template <class Nibble>
void put_nibbles(Nibble nibble, std::byte* words) noexcept {
  for (std::size_t i = 0; i < 16; ++i) put(words + i, static_cast<Byte>(nibble(i) | nibble(i + 16) << 4));
}

// high: [32], or null for Q4_K.
void regroup_k(const std::byte* block, const Byte* scales, const Byte* high, const Byte* nibbles,
               std::byte* units) noexcept {
  std::memcpy(units, block, 4);  // d, dmin
  std::byte* to = units + 4;
  for (std::size_t s = 0; s < 8; ++s) {
    const Byte* shared = nibbles + s / 2 * 32;
    put_nibbles([&](std::size_t i) { return shared[i] >> 4 * (s % 2) & 15; }, to);
    to += 16;
    if (high != nullptr) {
      std::uint32_t bits = 0;
      for (std::size_t i = 0; i < 32; ++i) bits |= static_cast<std::uint32_t>(high[i] >> s & 1) << i;
      put_fifth_bits(bits, to);
      to += 4;
    }
    const Byte* six = scales + s % 4;
    const int sc = s < 4 ? six[0] & 63 : (six[8] & 15) | six[0] >> 6 << 4;
    const int m = s < 4 ? six[4] & 63 : six[8] >> 4 | six[4] >> 6 << 4;
    put(to++, static_cast<Byte>(sc));
    put(to++, static_cast<Byte>(m));
  }
}

void regroup_q6_k(const tensor::BlockQ6_K& block, std::byte* units) noexcept {
  std::memcpy(units, &block.d, 2);
  std::byte* to = units + 2;
  for (std::size_t s = 0; s < 8; ++s, to += 26) {  // sub-block t = s % 4 of half s / 4
    const std::size_t t = s % 4;
    const Byte* low = block.nibbles + s / 4 * 64 + t % 2 * 32;
    const Byte* high = block.high + s / 4 * 32;
    put_nibbles([&](std::size_t i) { return low[i] >> 4 * (t / 2) & 15; }, to);
    for (std::size_t i = 0; i < 8; ++i) {  // byte i % 4 of word i / 4
      const Byte* four = high + 16 * (i / 4) + i % 4;
      int bits = 0;
      for (std::size_t group = 0; group < 4; ++group) bits |= (four[4 * group] >> 2 * t & 3) << 2 * group;
      put(to + 16 + i, static_cast<Byte>(bits));
    }
    std::memcpy(to + 24, block.scales + 2 * s, 2);
  }
}

// n of column i: 4 bits, and those of the word h where n_words says that there are some.
int quant(const std::byte* words, std::size_t n_words, std::size_t i) noexcept {
  const std::size_t part = i / 16, group = i % 16 / 4, byte = i % 4;
  const int low = static_cast<int>(words[i % 16]) >> 4 * part & 15;
  if (n_words == 5) return low | (static_cast<int>(words[16 + byte]) >> (4 * part + group) & 1) << 4;
  if (n_words == 6) return low | (static_cast<int>(words[16 + 4 * part + byte]) >> 2 * group & 3) << 4;
  return low;
}

}  // namespace

void regroup(DType dtype, const std::byte* block, std::byte* units) noexcept {
  switch (dtype) {
    case DType::q8_0:
      std::memcpy(units, block + 2, 32);
      std::memcpy(units + 32, block, 2);
      return;
    case DType::q4_0: return regroup_32(block, 1, false, units);
    case DType::q4_1: return regroup_32(block, 2, false, units);
    case DType::q5_0: return regroup_32(block, 1, true, units);
    case DType::q5_1: return regroup_32(block, 2, true, units);
    case DType::q4_k: {
      const auto k = load<tensor::BlockQ4_K>(block);
      return regroup_k(block, k.scales, nullptr, k.nibbles, units);
    }
    case DType::q5_k: {
      const auto k = load<tensor::BlockQ5_K>(block);
      return regroup_k(block, k.scales, k.high, k.nibbles, units);
    }
    case DType::q6_k: return regroup_q6_k(load<tensor::BlockQ6_K>(block), units);
    case DType::f32:
    case DType::f16:
    case DType::bf16: std::memcpy(units, block, row_units(dtype).n_bytes());
  }
}

void dequantize(DType dtype, const std::byte* units, float* out) noexcept {
  const RowUnits shape = row_units(dtype);
  const std::byte* block = units + 2 * shape.header;
  switch (dtype) {
    case DType::f32: *out = load<float>(units); return;
    case DType::f16: *out = half(units); return;
    case DType::bf16: *out = tensor::bf16_to_f32(load<std::uint16_t>(units)); return;
    case DType::q8_0:
      for (std::size_t i = 0; i < 32; ++i) out[i] = half(units + 32) * load<std::int8_t>(units + i);
      return;
    default: break;
  }
  for (std::size_t b = 0; b < shape.n_blocks; ++b, block += shape.block_bytes(), out += kQuantBlockLen) {
    const std::byte* scales = block + 4 * shape.words;
    float d[2], m = 0.0f;  // d of the first 16 columns and of the others
    switch (dtype) {
      case DType::q4_k:
      case DType::q5_k:
        d[0] = d[1] = half(units) * load<Byte>(scales);
        m = -(half(units + 2) * load<Byte>(scales + 1));
        break;
      case DType::q6_k:
        for (std::size_t part = 0; part < 2; ++part) d[part] = half(units) * load<std::int8_t>(scales + part);
        break;
      default:
        d[0] = d[1] = half(scales);
        if (shape.tail == 2) m = half(scales + 2);
    }
    const bool with_minimum = shape.tail == 2;
    const int zero = with_minimum ? 0 : 8 << (shape.words - 4);  // 8, 16, 32
    for (std::size_t i = 0; i < kQuantBlockLen; ++i) {
      const float value = d[i / 16] * static_cast<float>(quant(block, shape.words, i) - zero);
      out[i] = with_minimum ? value + m : value;
    }
  }
}

}  // namespace kvtape::ops
