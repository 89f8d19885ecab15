#pragma once
// One row of a packed matrix as its string of units (kernels/linear/matmul.h), and the way between it and a model file's
// blocks. A format has about the bytes of its file in another order: all columns of 32 together, bits 0-3 and the bits
// above apart. Only the 6-bit scales of Q4_K and Q5_K grow, to bytes: 1/36 more to read, nothing to unpack.

#include <cstddef>
#include <type_traits>

#include "tensor/dtype.h"

namespace kvtape::ops {

// The units of one file block: `header` halves, then n_blocks times `words` words of 4 bytes and `tail` units of
// tail_bytes.
struct RowUnits {
  std::size_t header, n_blocks, words, tail, tail_bytes;

  [[nodiscard]] constexpr std::size_t block_bytes() const noexcept { return 4 * words + tail * tail_bytes; }
  [[nodiscard]] constexpr std::size_t n_bytes() const noexcept { return 2 * header + n_blocks * block_bytes(); }

  // Calls visit(size, at) for each unit, size being a std::integral_constant of its bytes, at the byte it begins at.
  template <class Visit>
  void for_each(Visit visit) const {
    std::size_t at = 0;
    const auto run = [&]<std::size_t size>(std::size_t n) {
      for (std::size_t i = 0; i < n; ++i, at += size) visit(std::integral_constant<std::size_t, size>{}, at);
    };
    run.template operator()<2>(header);
    for (std::size_t b = 0; b < n_blocks; ++b) {
      run.template operator()<4>(words);
      switch (tail_bytes) {
        case 1: run.template operator()<1>(tail); break;
        case 2: run.template operator()<2>(tail); break;
        default: run.template operator()<4>(tail);
      }
    }
  }
};

inline constexpr std::size_t kMaxUnitBytes = 210;  // Q6_K

constexpr RowUnits row_units(tensor::DType dtype) noexcept {
  using tensor::DType;
  switch (dtype) {
    case DType::q8_0: return {0, 1, 8, 1, 2};
    case DType::q4_0: return {0, 1, 4, 1, 2};
    case DType::q4_1: return {0, 1, 4, 2, 2};
    case DType::q5_0: return {0, 1, 5, 1, 2};
    case DType::q5_1: return {0, 1, 5, 2, 2};
    case DType::q4_k: return {2, 8, 4, 2, 1};
    case DType::q5_k: return {2, 8, 5, 2, 1};
    case DType::q6_k: return {1, 8, 6, 1, 2};
    case DType::f16:
    case DType::bf16: return {0, 1, 0, 1, 2};
    case DType::f32: break;
  }
  return {0, 1, 0, 1, 4};
}

// Writes the units of one block of a model file, of any alignment. units: [row_units(dtype).n_bytes()]
void regroup(tensor::DType dtype, const std::byte* block, std::byte* units) noexcept;

// The elements those units stand for: out: [block_len]
void dequantize(tensor::DType dtype, const std::byte* units, float* out) noexcept;

}  // namespace kvtape::ops
