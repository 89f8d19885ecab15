#include "gguf/metadata.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <type_traits>
#include <utility>

#include "base/quoted.h"

namespace kvtape::gguf {
namespace {

std::string described(const Value& value) {
  if (value.type != ValueType::array) return std::string(type_name(value.type));
  return "array of " + std::string(type_name(value.element));
}

[[noreturn]] void throw_type(std::string_view key, const Value& value, const std::string& wanted) {
  throw_corrupt("key " + base::quoted(key) + " is of type " + described(value) + ", wanted " + wanted);
}

template <class T>
T load(const std::byte* bytes) noexcept {
  T value;
  std::memcpy(&value, bytes, sizeof(T));
  return value;
}

// Calls f with the integer, in its own type; false where the type is no integer.
template <class F>
bool with_integer(ValueType type, const std::byte* bytes, F f) {
  switch (type) {
    case ValueType::uint8: return f(load<std::uint8_t>(bytes)), true;
    case ValueType::int8: return f(load<std::int8_t>(bytes)), true;
    case ValueType::uint16: return f(load<std::uint16_t>(bytes)), true;
    case ValueType::int16: return f(load<std::int16_t>(bytes)), true;
    case ValueType::uint32: return f(load<std::uint32_t>(bytes)), true;
    case ValueType::int32: return f(load<std::int32_t>(bytes)), true;
    case ValueType::uint64: return f(load<std::uint64_t>(bytes)), true;
    case ValueType::int64: return f(load<std::int64_t>(bytes)), true;
    default: return false;
  }
}

template <class T>
std::string integer_name() {
  return (std::is_signed_v<T> ? "int" : "uint") + std::to_string(8 * sizeof(T));
}

// Numbers of the type `type`, at bytes, as T.
template <class T>
T number(std::string_view key, const Value& value, ValueType type, const std::byte* bytes) {
  if constexpr (std::is_floating_point_v<T>) {
    if (type == ValueType::float32) return static_cast<T>(load<float>(bytes));
    if (type == ValueType::float64) return static_cast<T>(load<double>(bytes));
    throw_type(key, value, "a float");
  } else {
    T result{};
    const bool known = with_integer(type, bytes, [&](auto found) {
      if (!std::in_range<T>(found)) {
        throw_corrupt("key " + base::quoted(key) + " holds " + std::to_string(found) + ", which does not fit " +
                      integer_name<T>());
      }
      result = static_cast<T>(found);
    });
    if (!known) throw_type(key, value, "an integer");
    return result;
  }
}

std::string_view text_of(const Value& value) noexcept {
  return {reinterpret_cast<const char*>(value.bytes.data()), value.bytes.size()};
}

template <class T>
struct Decode {  // numbers
  static T from(std::string_view key, const Value& value) {
    return number<T>(key, value, value.type, value.bytes.data());
  }
};

template <>
struct Decode<bool> {
  static bool from(std::string_view key, const Value& value) {
    if (value.type != ValueType::boolean) throw_type(key, value, "boolean");
    return value.bytes[0] != std::byte{0};
  }
};

template <>
struct Decode<std::string_view> {
  static std::string_view from(std::string_view key, const Value& value) {
    if (value.type != ValueType::string) throw_type(key, value, "string");
    return text_of(value);
  }
};

template <class T>
struct Decode<std::vector<T>> {
  static std::vector<T> from(std::string_view key, const Value& value) {
    const std::string wanted = std::is_floating_point_v<T> ? "array of floats" : "array of integers";
    const bool is_float = value.element == ValueType::float32 || value.element == ValueType::float64;
    const bool is_other =
        value.element == ValueType::string || value.element == ValueType::array || value.element == ValueType::boolean;
    if (value.type != ValueType::array || is_other || is_float != std::is_floating_point_v<T>) {
      throw_type(key, value, wanted);
    }
    const std::size_t step = min_bytes(value.element);
    std::vector<T> numbers(static_cast<std::size_t>(value.count));
    for (std::size_t i = 0; i < numbers.size(); ++i) {
      numbers[i] = number<T>(key, value, value.element, value.bytes.data() + i * step);
    }
    return numbers;
  }
};

template <>
struct Decode<std::vector<std::string_view>> {
  static std::vector<std::string_view> from(std::string_view key, const Value& value) {
    if (value.type != ValueType::array || value.element != ValueType::string) {
      throw_type(key, value, "array of strings");
    }
    std::vector<std::string_view> texts(static_cast<std::size_t>(value.count));
    Cursor cursor(value.bytes);
    const std::string what = "a string of key " + base::quoted(key);
    for (auto& text : texts) text = cursor.string(what);
    return texts;
  }
};

}  // namespace

Metadata::Metadata(std::vector<Entry> entries) : entries_(std::move(entries)) {
  std::sort(entries_.begin(), entries_.end(), [](const Entry& a, const Entry& b) { return a.key < b.key; });
  const auto twin = std::adjacent_find(entries_.begin(), entries_.end(),
                                       [](const Entry& a, const Entry& b) { return a.key == b.key; });
  if (twin != entries_.end()) throw_corrupt("key " + base::quoted(twin->key) + " comes twice");
}

const Value* Metadata::value(std::string_view key) const noexcept {
  const auto it = std::lower_bound(entries_.begin(), entries_.end(), key,
                                   [](const Entry& entry, std::string_view wanted) { return entry.key < wanted; });
  return it != entries_.end() && it->key == key ? &it->value : nullptr;
}

void Metadata::throw_missing(std::string_view key) { throw_corrupt("key " + base::quoted(key) + " is missing"); }

template <class T>
std::optional<T> Metadata::find(std::string_view key) const {
  const Value* found = value(key);
  if (found == nullptr) return std::nullopt;
  return Decode<T>::from(key, *found);
}

template std::optional<std::uint32_t> Metadata::find(std::string_view) const;
template std::optional<std::uint64_t> Metadata::find(std::string_view) const;
template std::optional<std::int32_t> Metadata::find(std::string_view) const;
template std::optional<std::int64_t> Metadata::find(std::string_view) const;
template std::optional<float> Metadata::find(std::string_view) const;
template std::optional<double> Metadata::find(std::string_view) const;
template std::optional<bool> Metadata::find(std::string_view) const;
template std::optional<std::string_view> Metadata::find(std::string_view) const;
template std::optional<std::vector<std::int32_t>> Metadata::find(std::string_view) const;
template std::optional<std::vector<std::uint32_t>> Metadata::find(std::string_view) const;
template std::optional<std::vector<float>> Metadata::find(std::string_view) const;
template std::optional<std::vector<std::string_view>> Metadata::find(std::string_view) const;

}  // namespace kvtape::gguf
