#include "gguf/value.h"

#include "base/error.h"
#include "builder.h"
#include "check.h"

namespace {

using namespace kvtape;
using gguf::ValueType;

test::Builder arrays_inside(int depth) {
  test::Builder b;
  b.type(ValueType::array);
  for (int i = 1; i < depth; ++i) b.array(ValueType::array, 1);
  return b.array(ValueType::uint8, 1).number<std::uint8_t>(42);
}

bool readable(int depth) {
  const auto bytes = arrays_inside(depth).bytes();
  gguf::Cursor cursor(bytes);
  try {
    return gguf::read_value(cursor, "k").type == ValueType::array && cursor.n_left() == 0;
  } catch (const base::Error&) {
    return false;
  }
}

}  // namespace

int main() {
  CHECK(readable(1) && readable(gguf::kMaxArrayDepth) && !readable(gguf::kMaxArrayDepth + 1));

  const auto bytes = arrays_inside(gguf::kMaxArrayDepth).bytes();
  gguf::Cursor cursor(bytes);
  gguf::Value value = gguf::read_value(cursor, "k");
  for (int i = 1; i < gguf::kMaxArrayDepth; ++i) value = gguf::elements(value, "k").at(0);
  CHECK(value.element == ValueType::uint8 && value.count == 1 && value.bytes[0] == std::byte{42});

  const auto words =
      test::Builder().type(ValueType::array).array(ValueType::string, 2).string("one").string("").bytes();
  gguf::Cursor at_words(words);
  const auto read = gguf::elements(gguf::read_value(at_words, "k"), "k");
  CHECK(read.size() == 2 && read[0].bytes.size() == 3 && read[1].bytes.empty());
  return test::failures();
}
