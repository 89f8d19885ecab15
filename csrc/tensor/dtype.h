#pragma once
// Element types of model files. The values are GGUF's type numbers.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace kvtape::tensor {

enum class DType : std::uint32_t {
  f32 = 0,
  f16 = 1,
  q4_0 = 2,
  q4_1 = 3,
  q5_0 = 6,
  q5_1 = 7,
  q8_0 = 8,
  q4_k = 12,
  q5_k = 13,
  q6_k = 14,
  bf16 = 30,
};

struct DTypeInfo {
  std::string_view name;
  std::size_t block_len;    // elements in a block
  std::size_t block_bytes;  // bytes of a block
};

inline constexpr std::string_view kSupportedDTypes = "F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, Q5_K, Q6_K";

// Nothing where the number is no type this version reads.
constexpr std::optional<DTypeInfo> dtype_info(std::uint32_t type) noexcept {
  switch (type) {
    case 0: return DTypeInfo{"F32", 1, 4};
    case 1: return DTypeInfo{"F16", 1, 2};
    case 2: return DTypeInfo{"Q4_0", 32, 18};
    case 3: return DTypeInfo{"Q4_1", 32, 20};
    case 6: return DTypeInfo{"Q5_0", 32, 22};
    case 7: return DTypeInfo{"Q5_1", 32, 24};
    case 8: return DTypeInfo{"Q8_0", 32, 34};
    case 12: return DTypeInfo{"Q4_K", 256, 144};
    case 13: return DTypeInfo{"Q5_K", 256, 176};
    case 14: return DTypeInfo{"Q6_K", 256, 210};
    case 30: return DTypeInfo{"BF16", 1, 2};
    default: return std::nullopt;
  }
}

constexpr DTypeInfo info(DType type) noexcept { return *dtype_info(static_cast<std::uint32_t>(type)); }

}  // namespace kvtape::tensor
