#pragma once
// Typed access to the keys of a model file. Strings and arrays are views of the file: they live as long as it does.
//
//   const auto n_layers = metadata.require<std::uint32_t>("llama.block_count");
//   const auto theta = metadata.find<float>("llama.rope.freq_base").value_or(10000.0f);
//
// T is one of: std::uint32_t, std::uint64_t, std::int32_t, std::int64_t (from any integer type, where the value fits),
// float, double (from either float type), bool, std::string_view, and std::vector of std::int32_t, std::uint32_t, float,
// std::string_view.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "gguf/value.h"

namespace kvtape::gguf {

class Metadata {
 public:
  struct Entry {
    std::string_view key;
    Value value;
  };

  Metadata() = default;
  explicit Metadata(std::vector<Entry> entries);  // throws corrupt_file where a key comes twice

  [[nodiscard]] std::span<const Entry> entries() const noexcept { return entries_; }  // ordered by key
  [[nodiscard]] const Value* value(std::string_view key) const noexcept;
  [[nodiscard]] bool contains(std::string_view key) const noexcept { return value(key) != nullptr; }

  // Nothing where the key is absent. Throws corrupt_file where its value is of another type, or does not fit.
  template <class T>
  [[nodiscard]] std::optional<T> find(std::string_view key) const;

  // Throws corrupt_file where the key is absent, too.
  template <class T>
  [[nodiscard]] T require(std::string_view key) const {
    auto found = find<T>(key);
    if (!found) throw_missing(key);
    return *std::move(found);
  }

 private:
  [[noreturn]] static void throw_missing(std::string_view key);

  std::vector<Entry> entries_;
};

}  // namespace kvtape::gguf
