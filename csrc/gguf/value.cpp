#include "gguf/value.h"

#include "base/quoted.h"

namespace kvtape::gguf {
namespace {

std::string of_key(std::string_view key) { return " of key " + base::quoted(key); }

ValueType read_type(Cursor& cursor, std::string_view key) {
  const auto type = cursor.number<std::uint32_t>("the type" + of_key(key));
  if (type >= kValueTypes) {
    throw_corrupt("the type" + of_key(key) + " is " + std::to_string(type) + ", wanted 0 to " +
                  std::to_string(kValueTypes - 1));
  }
  return static_cast<ValueType>(type);
}

// what: "the value of key 'k'", built once for a whole array.
Value read_body(Cursor& cursor, ValueType type, std::string_view key, std::string_view what, int depth) {
  Value value;
  value.type = type;
  switch (type) {
    case ValueType::string: {
      const auto text = cursor.string(what);
      value.bytes = std::as_bytes(std::span(text));
      break;
    }
    case ValueType::boolean: {
      value.bytes = cursor.take(1, what);
      const auto byte = std::to_integer<unsigned>(value.bytes[0]);
      if (byte > 1) throw_corrupt(std::string(what) + " is the byte " + std::to_string(byte) + ", a bool is 0 or 1");
      break;
    }
    case ValueType::array: {
      if (depth == kMaxArrayDepth) {
        throw_corrupt(std::string(what) + " nests arrays more than " + std::to_string(kMaxArrayDepth) + " deep");
      }
      value.element = read_type(cursor, key);
      value.count = cursor.count(min_bytes(value.element), "the length of the array" + of_key(key));
      const Cursor start = cursor;
      const bool variable = value.element == ValueType::string || value.element == ValueType::array ||
                            value.element == ValueType::boolean;
      if (variable) {
        for (std::uint64_t i = 0; i < value.count; ++i) read_body(cursor, value.element, key, what, depth + 1);
      } else {
        cursor.take(value.count * min_bytes(value.element), what);
      }
      value.bytes = start.until(cursor);
      break;
    }
    default: value.bytes = cursor.take(min_bytes(type), what);
  }
  return value;
}

}  // namespace

Value read_value(Cursor& cursor, std::string_view key) {
  const auto type = read_type(cursor, key);
  return read_body(cursor, type, key, "the value" + of_key(key), 0);
}

std::vector<Value> elements(const Value& array, std::string_view key) {
  const std::string what = "an element" + of_key(key);
  Cursor cursor(array.bytes);
  std::vector<Value> values;
  values.reserve(static_cast<std::size_t>(array.count));
  // The depth was checked when the file was read.
  for (std::uint64_t i = 0; i < array.count; ++i) values.push_back(read_body(cursor, array.element, key, what, 0));
  return values;
}

}  // namespace kvtape::gguf
