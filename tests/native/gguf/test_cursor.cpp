#include "gguf/cursor.h"

#include <limits>

#include "builder.h"
#include "check.h"

namespace {

using namespace kvtape;

template <class F>
std::string message(F f) {
  try {
    f();
  } catch (const base::Error& error) {
    return error.code() == base::ErrorCode::corrupt_file ? error.what() : "another code";
  }
  return "nothing thrown";
}

}  // namespace

int main() {
  const auto bytes =
      test::Builder().u32(7).string("name").u64(2).number<std::uint16_t>(1).number<std::uint16_t>(2).bytes();
  gguf::Cursor cursor(bytes);
  CHECK(cursor.number<std::uint32_t>("a number") == 7 && cursor.position() == 4);
  const gguf::Cursor start = cursor;
  CHECK(cursor.name("a name") == "name" && start.until(cursor).size() == 12);
  CHECK(cursor.count(2, "a count") == 2 && cursor.n_left() == 4);
  CHECK(cursor.take(4, "the rest").size() == 4 && cursor.n_left() == 0 && cursor.take(0, "nothing").empty());
  CHECK(message([&] { cursor.number<std::uint8_t>("a number"); }) ==
        "gguf: a number at byte 28 has 1 bytes, 0 are left");

  constexpr auto huge = std::numeric_limits<std::uint64_t>::max();
  const auto long_string = test::Builder().u64(huge).u64(0).bytes();
  CHECK(message([&] {
          gguf::Cursor(long_string).string("s");
        }).find("s at byte 8 has 18446744073709551615 bytes, 8 are left") != std::string::npos);
  CHECK(message([&] { gguf::Cursor(long_string).count(3, "n"); }) ==
        "gguf: n is 18446744073709551615, the 8 bytes left hold at most 2");
  const auto wrong = test::Builder().string("\xFF").bytes();
  CHECK(message([&] { gguf::Cursor(wrong).string("s"); }) == "gguf: s is not UTF-8: '\\xff'");
  const auto empty = test::Builder().string("").bytes();
  CHECK(gguf::Cursor(empty).string("s").empty());
  CHECK(message([&] { gguf::Cursor(empty).name("n"); }) == "gguf: n has 0 bytes, wanted 1 to 65535");
  return test::failures();
}
