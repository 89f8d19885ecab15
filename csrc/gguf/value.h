#pragma once
// One value of a model file, where it lies in the file.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "gguf/cursor.h"
#include "gguf/format.h"

namespace kvtape::gguf {

struct Value {
  ValueType type = ValueType::uint8;
  ValueType element = ValueType::uint8;  // of an array
  std::uint64_t count = 1;               // elements of an array; 1 for the rest
  std::span<const std::byte> bytes;      // a number, a string's characters, an array's elements
};

// Reads the type and then the value; `key` is for messages.
Value read_value(Cursor& cursor, std::string_view key);

// The elements of an array, one by one.
std::vector<Value> elements(const Value& array, std::string_view key);

}  // namespace kvtape::gguf
