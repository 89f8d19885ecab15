#pragma once
// The layout of a GGUF file, version 2 or 3. Integers and floats are little-endian, nothing is padded but the tensor data.
//
//   file      magic "GGUF" | version u32 | n_tensors u64 | n_keys u64 | n_keys x pair | n_tensors x tensor | padding | data
//   string    n_bytes u64 | UTF-8 bytes
//   pair      key string | type u32 | value
//   value     a number of its type; bool: one byte, 0 or 1; string; array: element type u32 | count u64 | count x value
//   tensor    name string | n_dims u32 | n_dims x u64 | type u32 | offset u64
//
// dims[0] is the length of a row and comes first. `offset` counts from the start of the data, which begins at the next
// multiple of `general.alignment` (32 where the key is absent); so does every tensor in it.

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace kvtape::gguf {

inline constexpr std::string_view kMagic = "GGUF";
inline constexpr std::uint32_t kMinVersion = 2, kMaxVersion = 3;
inline constexpr std::uint64_t kDefaultAlignment = 32;
inline constexpr std::string_view kAlignmentKey = "general.alignment";

inline constexpr std::uint32_t kMaxDims = 4;
inline constexpr std::uint64_t kMaxNameBytes = 65535;  // the format's own limit for a key
inline constexpr int kMaxArrayDepth = 4;               // arrays of arrays; no known file has more than 2

enum class ValueType : std::uint32_t {
  uint8 = 0,
  int8 = 1,
  uint16 = 2,
  int16 = 3,
  uint32 = 4,
  int32 = 5,
  float32 = 6,
  boolean = 7,
  string = 8,
  array = 9,
  uint64 = 10,
  int64 = 11,
  float64 = 12,
};

inline constexpr std::uint32_t kValueTypes = 13;

// Fewest bytes a value can take: its size, for a string the length, for an array the element type and count.
constexpr std::size_t min_bytes(ValueType type) noexcept {
  constexpr std::size_t sizes[kValueTypes] = {1, 1, 2, 2, 4, 4, 4, 1, 8, 12, 8, 8, 8};
  return sizes[static_cast<std::uint32_t>(type)];
}

constexpr std::string_view type_name(ValueType type) noexcept {
  constexpr std::string_view names[kValueTypes] = {"uint8",  "int8",    "uint16",  "int16",  "uint32",
                                                   "int32",  "float32", "boolean", "string", "array",
                                                   "uint64", "int64",   "float64"};
  return names[static_cast<std::uint32_t>(type)];
}

// Fewest bytes of a key with its value, and of a tensor's entry.
inline constexpr std::size_t kMinPairBytes = 8 + 1 + 4 + 1;
inline constexpr std::size_t kMinTensorBytes = 8 + 1 + 4 + 8 + 4 + 8;

// The name of a tensor type that exists, whether or not this version reads it; empty for an unknown number.
constexpr std::string_view tensor_type_name(std::uint32_t type) noexcept {
  constexpr std::string_view names[] = {"F32",     "F16",    "Q4_0",    "Q4_1",  "",       "",      "Q5_0",  "Q5_1",
                                        "Q8_0",    "Q8_1",   "Q2_K",    "Q3_K",  "Q4_K",   "Q5_K",  "Q6_K",  "Q8_K",
                                        "IQ2_XXS", "IQ2_XS", "IQ3_XXS", "IQ1_S", "IQ4_NL", "IQ3_S", "IQ2_S", "IQ4_XS",
                                        "I8",      "I16",    "I32",     "I64",   "F64",    "IQ1_M", "BF16",  "",
                                        "",        "",       "TQ1_0",   "TQ2_0", "",       "",      "",      "MXFP4"};
  return type < sizeof(names) / sizeof(names[0]) ? names[type] : std::string_view{};
}

}  // namespace kvtape::gguf
