#pragma once
// Writes GGUF files, good ones and bad ones.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "gguf/format.h"

namespace kvtape::test {

using gguf::ValueType;

class Builder {
 public:
  Builder& append(std::span<const std::byte> bytes) {
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
    return *this;
  }
  template <class T>
  Builder& number(T value) {
    return append(std::as_bytes(std::span(&value, 1)));
  }
  Builder& u32(std::uint32_t value) { return number(value); }
  Builder& u64(std::uint64_t value) { return number(value); }
  Builder& raw(std::string_view text) { return append(std::as_bytes(std::span(text))); }
  Builder& string(std::string_view text) { return u64(text.size()).raw(text); }
  Builder& type(ValueType type) { return u32(static_cast<std::uint32_t>(type)); }
  Builder& key(std::string_view name, ValueType value_type) { return string(name).type(value_type); }
  Builder& array(ValueType element, std::uint64_t count) { return type(element).u64(count); }

  Builder& header(std::uint64_t n_tensors, std::uint64_t n_keys, std::uint32_t version = 3) {
    return raw("GGUF").u32(version).u64(n_tensors).u64(n_keys);
  }
  Builder& tensor(std::string_view name, const std::vector<std::uint64_t>& dims, std::uint32_t type,
                  std::uint64_t offset) {
    string(name).u32(static_cast<std::uint32_t>(dims.size()));
    for (const auto dim : dims) u64(dim);
    return u32(type).u64(offset);
  }
  Builder& align(std::size_t alignment = 32) {
    while (bytes_.size() % alignment != 0) bytes_.push_back(std::byte{0});
    return *this;
  }
  Builder& zeros(std::size_t n) {
    bytes_.resize(bytes_.size() + n);
    return *this;
  }

  [[nodiscard]] std::size_t size() const noexcept { return bytes_.size(); }
  [[nodiscard]] std::vector<std::byte> bytes() const { return {bytes_.begin(), bytes_.end()}; }  // no room to spare

 private:
  std::vector<std::byte> bytes_;
};

// Every type of value, every type of tensor that is read, and one that is not.
struct GoodFile {
  std::vector<std::byte> bytes;
  std::size_t header_bytes;  // all before the tensor data
};

inline GoodFile good_file() {
  Builder b;
  b.header(4, 17);
  b.key("u8", ValueType::uint8).number<std::uint8_t>(200);
  b.key("i8", ValueType::int8).number<std::int8_t>(-100);
  b.key("u16", ValueType::uint16).number<std::uint16_t>(60000);
  b.key("i16", ValueType::int16).number<std::int16_t>(-30000);
  b.key("u32", ValueType::uint32).u32(4000000000u);
  b.key("i32", ValueType::int32).number<std::int32_t>(-7);
  b.key("f32", ValueType::float32).number(1.5f);
  b.key("yes", ValueType::boolean).number<std::uint8_t>(1);
  b.key("text", ValueType::string).string("gr\xC3\xBC\xC3\x9F dich");
  b.key("u64", ValueType::uint64).u64(1ull << 40);
  b.key("i64", ValueType::int64).number<std::int64_t>(-(1ll << 40));
  b.key("f64", ValueType::float64).number(0.1);
  b.key("words", ValueType::array).array(ValueType::string, 3).string("a").string("").string("\xE2\x82\xAC");
  b.key("ints", ValueType::array).array(ValueType::int32, 2).u32(5).u32(6);
  b.key("bools", ValueType::array).array(ValueType::boolean, 2).number<std::uint8_t>(0).number<std::uint8_t>(1);
  b.key("nested", ValueType::array).array(ValueType::array, 2);
  b.array(ValueType::float32, 1).number(2.5f).array(ValueType::string, 1).string("deep");
  b.key("general.alignment", ValueType::uint32).u32(64);
  b.tensor("norm", {16}, 0, 0);         // F32: 64 bytes
  b.tensor("exotic", {64, 2}, 16, 64);  // IQ2_XXS: not read
  b.tensor("half", {3, 2}, 1, 128);     // F16: 12 bytes
  b.tensor("quant", {32, 2}, 3, 192);   // Q4_1: 40 bytes
  b.align(64);
  const std::size_t header_bytes = b.size();
  b.zeros(192 + 40);
  return {b.bytes(), header_bytes};
}

}  // namespace kvtape::test
